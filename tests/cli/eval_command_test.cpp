#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "espalier/comm/comm.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/evaluate/losses.h"
#include "support/command.h"
#include "support/support.h"

namespace espalier {
namespace {

// Windows of 128 tokens, the first of a shape of its own and sixteen a batch: of 18 there are three batches.
std::vector<std::string> Arguments(const TempFolder& folder, const std::string& out, int windows = 18) {
  return {"eval",
          ModelPath().string(),
          "preset=strided",
          "window=128",
          "stride=127",
          fmt::format("windows={}", windows),
          "data=" + DataPath("wikitext-2/wiki.test.raw").string(),
          "--out",
          (folder / out).string()};
}

class SmolEvalOfManyProcesses : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(ModelPath())) GTEST_SKIP() << "no " << ModelPath();
    if (!ManyProcesses()) GTEST_SKIP() << "built without Gloo's headers";
  }
  TempFolder folder_;
};

TEST_F(SmolEvalOfManyProcesses, GivesTheLossesOfOneToTheBitAndOnlyTheFirstOneSpeaks) {
  const Outcome alone = RunCommand(Arguments(folder_, "alone"));
  ASSERT_EQ(alone.code, 0) << alone.err;
  const std::string id = "perplexity-wiki.test-strided";
  const at::Tensor expected = LoadLosses(folder_ / "alone", id).each;
  for (const size_t size : {2, 4}) {  // four ranks, three batches: one has nothing to do
    const std::string out = fmt::format("of-{}", size);
    const std::vector<Outcome> ranks = RunRanks(std::vector<std::vector<std::string>>(size, Arguments(folder_, out)));
    for (const Outcome& rank : ranks) EXPECT_EQ(rank.code, 0) << rank.err;
    for (size_t rank = 1; rank < size; ++rank) EXPECT_EQ(ranks[rank].out + ranks[rank].err, "");
    EXPECT_TRUE(at::equal(LoadLosses(folder_ / out, id).each, expected)) << size << " ranks";
    EXPECT_EQ(ReadJson(folder_ / out / (id + ".json")).at("metrics"),
              ReadJson(folder_ / "alone" / (id + ".json")).at("metrics"));
  }
}

TEST_F(SmolEvalOfManyProcesses, IsRefusedWhenTheyWereStartedWithDifferentArguments) {
  std::vector<std::vector<std::string>> arguments(2, Arguments(folder_, "out"));
  arguments[1][5] = "windows=17";
  for (const Outcome& rank : RunRanks(arguments)) {
    EXPECT_EQ(rank.code, 2);
    EXPECT_NE(rank.err.find("arguments of eval: rank 0 has"), std::string::npos) << rank.err;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
}

TEST_F(SmolEvalOfManyProcesses, StopsWithAReasonAndNoResultWhenOneIsKilled) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Outcome> ranks =
      RunRanks(std::vector<std::vector<std::string>>(2, Arguments(folder_, "out", 300)),
               [&] { return std::chrono::steady_clock::now() - start > std::chrono::seconds(4); });
  EXPECT_EQ(ranks[1].code, 128 + SIGKILL);
  EXPECT_EQ(ranks[0].code, 2);
  EXPECT_NE(ranks[0].err.find("another process ended or did not answer"), std::string::npos) << ranks[0].err;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out" / "perplexity-wiki.test-strided.json"));
}

// What `launcher` before the command makes of two processes; skipped where `present` fails.
class SmolEvalUnderLaunchers : public SmolEvalOfManyProcesses {
 protected:
  void GivesTheLossesOfOne(const std::string& present, const std::string& launcher) {
    if (std::system((present + " > /dev/null 2>&1").c_str()) != 0) GTEST_SKIP() << "not here: " << present;
    ASSERT_EQ(RunCommand(Arguments(folder_, "alone")).code, 0);
    const std::string log = (folder_ / "log").string();
    const std::string command =
        fmt::format("cd {} && OMP_NUM_THREADS=1 {} {} {} > {} 2>&1", ESPALIER_SOURCE_DIR, launcher, ESPALIER_COMMAND,
                    fmt::join(Arguments(folder_, "launched"), " "), log);
    ASSERT_EQ(std::system(command.c_str()), 0) << ReadFile(log);
    EXPECT_TRUE(at::equal(LoadLosses(folder_ / "launched", "perplexity-wiki.test-strided").each,
                          LoadLosses(folder_ / "alone", "perplexity-wiki.test-strided").each));
  }
};

TEST_F(SmolEvalUnderLaunchers, MpirunGivesTheLossesOfOne) {
  GivesTheLossesOfOne("mpirun --version",
                      "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 2");
}

// torchrun is a module of torch, whose wheel setup installs without what it needs beside LibTorch.
TEST_F(SmolEvalUnderLaunchers, TorchrunGivesTheLossesOfOne) {
  GivesTheLossesOfOne("python3 -c 'import torch.distributed.run'",
                      "python3 -m torch.distributed.run --no-python --nproc-per-node 2");
}

TEST(CommandsOfOneProcess, RefuseToBeStartedAsSeveral) {
  for (const Outcome& rank : RunRanks({{"list"}, {"list"}})) {
    EXPECT_EQ(rank.code, 2);
    EXPECT_NE(rank.err.find("list: started as one of 2 processes"), std::string::npos) << rank.err;
  }
}

}  // namespace
}  // namespace espalier
