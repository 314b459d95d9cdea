#include "espalier/core/memory.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <new>
#include <string>
#include <string_view>

namespace espalier {
namespace {

namespace fs = std::filesystem;

// The number in a file of the kernel; none for "max", for a missing file, and for numbers that mean no limit (v1 says
// the largest multiple of a page).
std::optional<int64_t> LimitIn(const fs::path& file) {
  constexpr int64_t kNoLimit = int64_t{1} << 60;
  int64_t bytes = 0;
  if (std::ifstream(file) >> bytes && bytes > 0 && bytes < kNoLimit) return bytes;
  return {};
}

// The least limit of the group `group` ("/a/b") and of the groups that hold it, below the mounted `hierarchy`.
std::optional<int64_t> LimitOnTheWayUp(const fs::path& hierarchy, fs::path group, const char* file) {
  std::optional<int64_t> least;
  while (true) {
    const auto limit = LimitIn(hierarchy / group.relative_path() / file);
    if (limit) least = std::min(limit.value(), least.value_or(*limit));
    if (!group.has_relative_path()) return least;
    group = group.parent_path();
  }
}

}  // namespace

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

std::optional<int64_t> GroupMemoryLimit(const fs::path& root) {
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/a/b"; v2: "0::/a/b"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    const auto limit = controllers == "memory"
                           ? LimitOnTheWayUp(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
                       : controllers.empty() ? LimitOnTheWayUp(root / "sys/fs/cgroup", group, "memory.max")
                                             : std::nullopt;
    if (limit) return limit;
  }
  return {};
}

void FailBeyondGroupLimit() {
  const std::optional<int64_t> limit = GroupMemoryLimit();
  struct rlimit data {};
  if (!limit || getrlimit(RLIMIT_DATA, &data) != 0) return;
  data.rlim_cur = std::min(data.rlim_cur, static_cast<rlim_t>(*limit));  // RLIM_INFINITY is the largest number
  setrlimit(RLIMIT_DATA, &data);
}

bool IsOutOfMemory(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return true;
  const std::string_view text = error.what();
  return text.find("allocate memory") != std::string_view::npos || text.find("out of memory") != std::string_view::npos;
}

}  // namespace espalier
