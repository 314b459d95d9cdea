// Runs of a tiny model whose budget is taken in several steps.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/calibrate/statistics.h"
#include "espalier/calibrate/windows.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/io/text.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "espalier/plan/ledger.h"
#include "espalier/prune/cut.h"
#include "espalier/recipe/run.h"
#include "espalier/recipe/schema.h"
#include "support/support.h"
#include "support/tiny_run.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using at::Tensor;

class Scheduled : public testing::Test {
 protected:
  // The folder of a run until the pruned model.
  fs::path Run(const std::string& name, const std::string& prune) const { return run_.Run(name, prune, "prune"); }
  Tensor Windows() const {
    TextSource source;
    source.path = run_.Text();
    return PackWindows(run_.tokenizer(), ReadCorpus(source), 4, 64, 0);
  }

  TinyRun run_;
  const Model& model_ = run_.model();
};

double MeanLoss(const Model& model, const Tensor& ids) {
  const Tensor logits = Logits(model, ids).slice(1, 0, -1).reshape({-1, model.config.V});
  return at::cross_entropy_loss(logits, ids.slice(1, 1).reshape({-1})).item<double>();
}

TEST_F(Scheduled, OneBlockAStepByItsLossIsTheGreedySearchOfSleb) {
  const fs::path run = Run("greedy",
                           "prune:\n  units: block\n  score: loss_increase\n  budget: {remove: 0.5}\n"
                           "  schedule: {steps: 2}\n  compensate: none\n");
  std::vector<int64_t> left = {0, 1, 2, 3};
  Plan plan = KeepAll(model_, {UnitKind::kBlock});
  for (int step = 0; step < 2; ++step) {
    int64_t cheapest = -1;
    double least = 1e9;
    for (const int64_t block : left) {
      Plan trial = plan;
      trial.blocks[static_cast<size_t>(block)].At(UnitKind::kBlock).kept.clear();
      const double loss = MeanLoss(Mask(model_, trial), Windows());
      if (loss < least) least = loss, cheapest = block;
    }
    plan.blocks[static_cast<size_t>(cheapest)].At(UnitKind::kBlock).kept.clear();
    std::erase(left, cheapest);
  }
  const Plan found = PlanFromJson(ReadJson(run / "plan.json"), "plan");
  for (size_t l = 0; l < 4; ++l)
    EXPECT_EQ(found.blocks[l].At(UnitKind::kBlock).kept, plan.blocks[l].At(UnitKind::kBlock).kept) << l;
  // Nothing is compensated, so that the composed plan gives the pruned model.
  EXPECT_TRUE(BitwiseEqual(LoadModel(run / "pruned", at::kFloat, at::kCPU), Cut(model_, found)));
}

TEST_F(Scheduled, StepsMeetTheWholeBudgetKeepWhatIsProtectedAndAreReused) {
  const std::string prune =
      "protect: [{rule: keep, units: [2/ffn_channel/3, 1/query_head/3, 0/ffn_channel/23]}]\n"
      "prune:\n  score: wifv\n  budget: {remove: 0.4}\n  schedule: {steps: 3}\n  compensate: least_squares\n";
  const fs::path run = Run("steps", prune);
  const Plan plan = PlanFromJson(ReadJson(run / "plan.json"), "plan");
  EXPECT_EQ(plan.requested_share, 0.4);
  EXPECT_LE(plan.achieved_share, 0.4);
  EXPECT_GT(plan.achieved_share, 0.4 - 384.0 / static_cast<double>(plan.dense.block_parameters));
  EXPECT_TRUE(Keeps(plan, {2, UnitKind::kFfnChannel, 3}));
  EXPECT_TRUE(Keeps(plan, {0, UnitKind::kFfnChannel, 23}));
  EXPECT_TRUE(Keeps(plan, {1, UnitKind::kKvGroup, 1}));
  const Model pruned = LoadModel(run / "pruned", at::kFloat, at::kCPU);
  EXPECT_EQ(DenseCost(pruned).block_parameters, plan.pruned.block_parameters);
  for (int64_t l = 0; l < 4; ++l)
    EXPECT_EQ(pruned.config.blocks[static_cast<size_t>(l)].F,
              std::ssize(plan.blocks[static_cast<size_t>(l)].At(UnitKind::kFfnChannel).kept));
  // The first step is a run of a third of the budget; what it left is calibrated again.
  const Json stages = ReadJson(run / "manifest.json").at("stages");
  for (const char* stage :
       {"calibrate", "plan.1", "prune.1", "calibrate.2", "plan.2", "prune.2", "calibrate.3", "plan.3", "plan", "prune"})
    EXPECT_TRUE(stages.contains(stage)) << stage;
  EXPECT_NEAR(stages.at("plan.1").at("facts").at("achieved").get<double>(), 0.4 / 3, 0.05);
  EXPECT_FALSE(
      at::equal(LoadStatistics(run / "calibrate/statistics.safetensors").blocks[3].ffn_hidden.counted.mean,
                LoadStatistics(run / "calibrate/statistics-step-3.safetensors").blocks[3].ffn_hidden.counted.mean));
  const auto written = fs::last_write_time(run / "pruned/model.safetensors");
  Run("steps", prune);
  EXPECT_EQ(fs::last_write_time(run / "pruned/model.safetensors"), written);
}

TEST_F(Scheduled, SupernodesStayWhatTheScorerSays) {
  const fs::path run = Run("supernodes",
                           "protect: [{rule: supernodes, share: 0.05}]\n"
                           "prune:\n  units: ffn_channel\n  score: magnitude\n  budget: {remove: 0.3}\n"
                           "  compensate: none\n");
  const Plan plan = PlanFromJson(ReadJson(run / "plan.json"), "plan");
  EXPECT_EQ(plan.protected_units.size(), 5u);  // of 96
  for (const ProtectedUnit& unit : plan.protected_units) EXPECT_TRUE(Keeps(plan, unit.unit));
}

TEST_F(Scheduled, EveryStepMayMeasureRoundAndSwap) {
  const fs::path run = Run("all",
                           "protect: [{rule: supernodes, share: 0.03}]\n"
                           "prune:\n  score: magnitude\n  budget: {remove: 0.4}\n  schedule: {steps: 2}\n"
                           "  allocate: {method: sensitivity, sequences: 2, round_ffn_to: 4, swaps: 3}\n"
                           "  compensate: least_squares\n");
  const Plan plan = PlanFromJson(ReadJson(run / "plan.json"), "plan");
  for (const BlockPlan& block : plan.blocks) EXPECT_EQ(block.At(UnitKind::kFfnChannel).kept.size() % 4, 0u);
  EXPECT_LE(plan.achieved_share, 0.4);
  EXPECT_GT(plan.achieved_share, 0.4 - 384.0 / static_cast<double>(plan.dense.block_parameters));
  EXPECT_EQ(plan.protected_units.size(), 3u);  // of 96
  for (const ProtectedUnit& unit : plan.protected_units) EXPECT_TRUE(Keeps(plan, unit.unit));
  EXPECT_EQ(DenseCost(LoadModel(run / "pruned", at::kFloat, at::kCPU)).block_parameters, plan.pruned.block_parameters);
}

}  // namespace
}  // namespace espalier
