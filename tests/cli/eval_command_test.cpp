#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "espalier/comm/comm.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/evaluate/losses.h"
#include "support/command.h"
#include "support/support.h"
#include "support/tiny_run.h"

namespace espalier {
namespace {

class EvalOfManyProcesses : public testing::Test {
 protected:
  void SetUp() override {
    if (!ManyProcesses()) GTEST_SKIP() << "built without Gloo's headers";
  }

  // Windows of 32 tokens, the first of a shape of its own and 64 a batch: of 130 there are four batches.
  std::vector<std::string> Arguments(const std::string& out) const {
    return {"eval",
            run_.Folder("model").string(),
            "preset=strided",
            "window=32",
            "stride=31",
            "windows=130",
            "data=" + run_.Text().string(),
            "--out",
            (folder_ / out).string()};
  }

  TinyRun run_;
  TempFolder folder_;
};

TEST_F(EvalOfManyProcesses, GivesTheLossesOfOneToTheBitAndOnlyTheFirstOneSpeaks) {
  const Outcome alone = RunCommand(Arguments("alone"));
  ASSERT_EQ(alone.code, 0) << alone.err;
  const std::string id = "perplexity-text-strided";
  const at::Tensor expected = LoadLosses(folder_ / "alone", id).each;
  for (const size_t size : {2, 5}) {  // five ranks, four batches: one has nothing to do
    const std::string out = fmt::format("of-{}", size);
    const std::vector<Outcome> ranks = RunRanks(std::vector<std::vector<std::string>>(size, Arguments(out)));
    for (const Outcome& rank : ranks) EXPECT_EQ(rank.code, 0) << rank.err;
    for (size_t rank = 1; rank < size; ++rank) EXPECT_EQ(ranks[rank].out + ranks[rank].err, "");
    EXPECT_TRUE(at::equal(LoadLosses(folder_ / out, id).each, expected)) << size << " ranks";
    EXPECT_EQ(ReadJson(folder_ / out / (id + ".json")).at("metrics"),
              ReadJson(folder_ / "alone" / (id + ".json")).at("metrics"));
  }
}

TEST_F(EvalOfManyProcesses, IsRefusedWhenTheyWereStartedWithDifferentArguments) {
  std::vector<std::vector<std::string>> arguments(2, Arguments("out"));
  arguments[1][5] = "windows=129";
  for (const Outcome& rank : RunRanks(arguments)) {
    EXPECT_EQ(rank.code, 2);
    EXPECT_NE(rank.err.find("arguments of eval: rank 0 has"), std::string::npos) << rank.err;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
}

// What `launcher` before the command makes of two processes; skipped where `present` fails.
class EvalUnderLaunchers : public EvalOfManyProcesses {
 protected:
  void GivesTheLossesOfOne(const std::string& present, const std::string& launcher) {
    if (std::system((present + " > /dev/null 2>&1").c_str()) != 0) GTEST_SKIP() << "not here: " << present;
    ASSERT_EQ(RunCommand(Arguments("alone")).code, 0);
    const std::string log = (folder_ / "log").string();
    const std::string command = fmt::format("cd {} && OMP_NUM_THREADS=1 {} {} {} > {} 2>&1", ESPALIER_SOURCE_DIR,
                                            launcher, ESPALIER_COMMAND, fmt::join(Arguments("launched"), " "), log);
    ASSERT_EQ(std::system(command.c_str()), 0) << ReadFile(log);
    EXPECT_TRUE(at::equal(LoadLosses(folder_ / "launched", "perplexity-text-strided").each,
                          LoadLosses(folder_ / "alone", "perplexity-text-strided").each));
  }
};

TEST_F(EvalUnderLaunchers, MpirunGivesTheLossesOfOne) {
  GivesTheLossesOfOne("mpirun --version",
                      "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 2");
}

// torchrun is a module of torch, whose wheel setup installs without what it needs beside LibTorch.
TEST_F(EvalUnderLaunchers, TorchrunGivesTheLossesOfOne) {
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
