#include "espalier/core/memory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "espalier/core/files.h"
#include "support/support.h"

namespace espalier {
namespace {

TEST(Memory, TheLimitOfAGroupIsTheLeastOnTheWayUp) {
  const TempFolder root;
  WriteFile(root / "proc/self/cgroup", "0::/job/step\n");
  EXPECT_FALSE(GroupMemoryLimit(root.path()));
  WriteFile(root / "sys/fs/cgroup/job/step/memory.max", "max\n");
  EXPECT_FALSE(GroupMemoryLimit(root.path()));
  WriteFile(root / "sys/fs/cgroup/job/memory.max", "3000000000\n");
  EXPECT_EQ(GroupMemoryLimit(root.path()), 3000000000);
  WriteFile(root / "sys/fs/cgroup/job/step/memory.max", "2000000000\n");
  EXPECT_EQ(GroupMemoryLimit(root.path()), 2000000000);
}

TEST(Memory, TheOlderHierarchyOfGroupsHasAFileOfItsOwn) {
  const TempFolder root;
  WriteFile(root / "proc/self/cgroup", "8:pids:/\n4:memory:/job\n0::/\n");
  WriteFile(root / "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");  // no limit, in v1
  EXPECT_FALSE(GroupMemoryLimit(root.path()));
  WriteFile(root / "sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000000\n");
  EXPECT_EQ(GroupMemoryLimit(root.path()), 1000000000);
}

TEST(Memory, BothLibrariesSayWhenThereIsNone) {
  EXPECT_TRUE(IsOutOfMemory(std::bad_alloc()));
  EXPECT_FALSE(IsOutOfMemory(std::runtime_error("shapes differ")));
  try {
    at::empty({int64_t{1} << 50}, at::kByte);
    FAIL() << "a petabyte was had";
  } catch (const std::exception& error) {
    EXPECT_TRUE(IsOutOfMemory(error)) << error.what();
  }
}

}  // namespace
}  // namespace espalier
