// The `espalier` command.
#include <unistd.h>

#include <cstdlib>

#include "espalier/cli/command.h"

// LibTorch's OpenMP threads spin while they wait unless told otherwise when the library loads: two programs on one
// machine then make each other many times slower. Set before anything is loaded, by starting once more.
static void WaitPassively(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "passive", 1);
  ::execv("/proc/self/exe", argv);
}

int main(int argc, char** argv) {
  WaitPassively(argv);
  return espalier::Main(argc, argv);
}
