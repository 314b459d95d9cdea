#include "espalier/core/files.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// The number of a process that has ended.
pid_t GoneProcess() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

TEST(Leftovers, OfKilledProcessesGoAndThoseOfLivingOnesStay) {
  const TempFolder folder;
  const pid_t gone = GoneProcess();
  const auto name = [&](const char* format, pid_t process) {
    return folder / fmt::format(fmt::runtime(format), process);
  };
  for (const pid_t process : {gone, ::getpid()})
    for (const char* format : {".a.gguf.tmp-{}", ".a.gguf.tmp-{}.gguf", "..a.gguf.tmp-{}.gguf.tmp-1", ".a.gguf.old-{}"})
      WriteFile(name(format, process), "x");
  WriteFile(name(".other.gguf.tmp-{}", gone), "x");
  WriteFile(folder / "a.gguf.tmp-1", "x");  // not hidden: a user's
  RemoveLeftovers(folder / "a.gguf");
  for (const char* format : {".a.gguf.tmp-{}", ".a.gguf.tmp-{}.gguf", "..a.gguf.tmp-{}.gguf.tmp-1", ".a.gguf.old-{}"}) {
    EXPECT_FALSE(fs::exists(name(format, gone))) << format;
    EXPECT_TRUE(fs::exists(name(format, ::getpid()))) << format;
  }
  EXPECT_TRUE(fs::exists(name(".other.gguf.tmp-{}", gone)));
  EXPECT_TRUE(fs::exists(folder / "a.gguf.tmp-1"));
}

TEST(AtomicFile, LeavesTheOldContentWhenNotCommitted) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "atomic";
  const auto path = folder / "x";
  WriteFile(path, "old");
  {
    AtomicFile file(path);
    file.Write("half");
  }
  EXPECT_EQ(ReadFile(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST(AtomicFolder, SweepsAwayWhatAKilledProcessLeft) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "swept";
  // Process numbers end far below this one on Linux (pid_max is at most 4,194,304).
  std::filesystem::create_directories(folder / ".pruned.tmp-99999999");
  AtomicFolder output(folder / "pruned");
  WriteFile(output.temporary() / "x", "new");
  output.Commit();
  EXPECT_EQ(ReadFile(folder / "pruned" / "x"), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST(FileLock, RefusesASecondHolder) {
  const auto path = std::filesystem::path(testing::TempDir()) / "lock";
  const FileLock first(path);
  EXPECT_NE(MessageOf([&] { FileLock second(path); }).find("another run (process"), std::string::npos);
}

TEST(AtomicFolder, ReplacesAFullFolderAndLeavesNothingElse) {
  const TempFolder folder;
  WriteFile(folder / "out/old.txt", "old");
  {
    AtomicFolder fresh((folder / "out").string() + "/");  // a slash at the end changes nothing
    WriteFile(fresh.temporary() / "new.txt", "new");
    EXPECT_EQ(ReadFile(folder / "out/old.txt"), "old");
    fresh.Commit();
  }
  EXPECT_EQ(ReadFile(folder / "out/new.txt"), "new");
  EXPECT_FALSE(fs::exists(folder / "out/old.txt"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(AtomicFolder, WithoutCommitLeavesTheOldOne) {
  const TempFolder folder;
  WriteFile(folder / "out/old.txt", "old");
  { WriteFile(AtomicFolder(folder / "out").temporary() / "new.txt", "new"); }
  EXPECT_EQ(ReadFile(folder / "out/old.txt"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace espalier
