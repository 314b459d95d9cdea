#include "input.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "espalier/core/error.h"

namespace espalier::fuzz {

std::filesystem::path FileOf(const uint8_t* data, size_t size) {
  static const int file = memfd_create("input", 0);
  if (file < 0 || ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  return "/proc/self/fd/" + std::to_string(file);
}

int Try(const std::function<void()>& read) {
  try {
    read();
  } catch (const Error&) {
  }
  return 0;
}

}  // namespace espalier::fuzz
