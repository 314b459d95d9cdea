#include "espalier/core/memory.h"

#include <malloc.h>
#include <sys/resource.h>

#include <fstream>
#include <string>

namespace espalier {

int64_t PeakMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (int64_t kilobytes = 0; word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  // Where there is no such file. It also counts what the process was before exec.
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

void ResetPeakMemory() {
  std::ofstream("/proc/self/clear_refs") << "5";  // proc(5), since Linux 4.0
}

void KeepFreedMemory() {
#ifdef __GLIBC__
  constexpr int kLargest = 1 << 30;  // blocks above it are the kernel's still
  mallopt(M_MMAP_THRESHOLD, kLargest);
  mallopt(M_TRIM_THRESHOLD, kLargest);
#endif
}

}  // namespace espalier
