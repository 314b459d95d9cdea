#include "espalier/core/memory.h"

#include <sys/resource.h>

#include <fstream>

namespace espalier {

int64_t PeakMemory() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

void ResetPeakMemory() {
  std::ofstream("/proc/self/clear_refs") << "5";  // proc(5), since Linux 4.0
}

}  // namespace espalier
