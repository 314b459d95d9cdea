#include "espalier/prune/cut.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "espalier/core/random.h"
#include "espalier/model/forward.h"
#include "espalier/model/unit_space.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// What remains of a rounding difference: sums of fewer terms, without the zeros between them.
constexpr double kRounding = 1e-5;

Plan KeepAll(const Model& model) {
  Plan plan;
  for (const BlockConfig& sizes : model.config.blocks) {
    BlockPlan block{sizes.G, sizes.F, {}, {}};
    for (int64_t i = 0; i < sizes.G; ++i) block.kv_groups.push_back(i);
    for (int64_t i = 0; i < sizes.F; ++i) block.ffn_channels.push_back(i);
    plan.blocks.push_back(block);
  }
  return plan;
}

// Each unit of `kinds` stays with probability `keep`.
Plan RandomPlan(const Model& model, uint64_t seed, double keep, const std::vector<UnitKind>& kinds) {
  Plan plan = KeepAll(model);
  uint64_t counter = 0;
  for (BlockPlan& block : plan.blocks)
    for (const UnitKind kind : kinds)
      std::erase_if(kind == UnitKind::kKvGroup ? block.kv_groups : block.ffn_channels,
                    [&](int64_t) { return RandomUnit(seed, 0, counter++) >= keep; });
  return plan;
}

double CutAgainstMask(const Model& model, const Plan& plan) {
  // A norm over all heads keeps its epsilon while its mean is over fewer: what the contract allows, and no more.
  const double limit = model.config.qk_norm == QkNorm::kAllHeads ? 1e-4 : kRounding;
  return CheckCutEqualsMask(Cut(model, plan), Mask(model, plan), RandomIds(1, 3, 12, model.config.V), limit);
}

TEST(Cut, EqualsTheMaskForRandomPlansOfEveryKindAndSeed) {
  for (uint64_t seed = 0; seed < 8; ++seed)
    for (const bool biases : {false, true}) {
      TinyShape shape;  // uneven blocks
      shape.biases = biases;
      shape.tied_head = seed % 2 == 0;
      const Model model = TinyModel(seed, shape);
      for (const auto& kinds : std::vector<std::vector<UnitKind>>{
               {UnitKind::kKvGroup}, {UnitKind::kFfnChannel}, {UnitKind::kKvGroup, UnitKind::kFfnChannel}})
        for (const double keep : {0.9, 0.5, 0.1})
          EXPECT_NO_THROW(CutAgainstMask(model, RandomPlan(model, seed, keep, kinds))) << seed << " " << keep;
    }
}

TEST(Cut, EqualsTheMaskForEveryFamilyLayoutAndUnitKind) {
  for (const auto& [name, shape] : FamilyShapes())
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const Model model = TinyModel(seed, shape);
      for (const auto& kinds : std::vector<std::vector<UnitKind>>{
               {UnitKind::kKvGroup}, {UnitKind::kFfnChannel}, {UnitKind::kKvGroup, UnitKind::kFfnChannel}})
        for (const double keep : {0.8, 0.4})
          EXPECT_NO_THROW(CutAgainstMask(model, RandomPlan(model, seed, keep, kinds))) << name << " " << seed;
    }
}

TEST(Cut, TakesGateRowsNormsAndSinkLogitsOfTheHeadsThatGo) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(3, shape);
    Plan plan = KeepAll(model);
    plan.blocks[0].kv_groups = {1};  // heads 2 and 3 of 4 stay
    const Attention cut = Cut(model, plan).blocks[0].attention;
    const Attention& whole = model.blocks[0].attention;
    const int64_t D = shape.D;
    EXPECT_TRUE(at::equal(cut.w_q.weight, whole.w_q.weight.narrow(0, 2 * D, 2 * D)));
    if (shape.gate != GateKind::kNone) {
      const int64_t rows = shape.gate == GateKind::kElementwise ? D : 1;
      EXPECT_TRUE(at::equal(cut.w_output_gate.weight, whole.w_output_gate.weight.narrow(0, 2 * rows, 2 * rows)));
    }
    if (shape.sink_logits) {
      EXPECT_TRUE(at::equal(cut.sink_logits, whole.sink_logits.narrow(0, 2, 2)));
    }
    if (shape.qk_norm == QkNorm::kPerHead) {
      EXPECT_TRUE(at::equal(cut.q_norm, whole.q_norm));
    }
    if (shape.qk_norm == QkNorm::kAllHeads) {  // the mean over half as many values is twice as large
      EXPECT_LT(RelativeDifference(cut.q_norm, whole.q_norm.narrow(0, 2 * D, 2 * D) * std::sqrt(2.0)), 1e-6);
    }
  }
}

TEST(Cut, EqualsTheMaskWhenSublayersAreRemovedWhole) {
  for (const bool biases : {false, true}) {
    TinyShape shape;
    shape.biases = biases;  // the bias of the output projection stays behind as a constant
    const Model model = TinyModel(9, shape);
    Plan plan = KeepAll(model);
    plan.blocks[0].kv_groups.clear();
    plan.blocks[1].ffn_channels.clear();
    plan.blocks[2].kv_groups.clear();
    plan.blocks[2].ffn_channels.clear();
    EXPECT_NO_THROW(CutAgainstMask(model, plan));
    const Model cut = Cut(model, plan);
    EXPECT_FALSE(cut.config.blocks[0].HasAttention());
    EXPECT_FALSE(cut.blocks[0].attention.w_q.defined());
    EXPECT_EQ(cut.blocks[0].attention.w_o.bias.defined(), biases);
    EXPECT_FALSE(cut.config.blocks[1].HasFeedForward());
    EXPECT_TRUE(cut.config.blocks[2].kv_of_head.empty());
  }
}

TEST(Cut, OfACutModelIsCutAgain) {
  const Model model = TinyModel(10);
  const Model once = Cut(model, RandomPlan(model, 1, 0.6, {UnitKind::kKvGroup, UnitKind::kFfnChannel}));
  for (uint64_t seed = 0; seed < 4; ++seed)
    EXPECT_NO_THROW(CutAgainstMask(once, RandomPlan(once, seed, 0.5, {UnitKind::kKvGroup, UnitKind::kFfnChannel})));
}

TEST(Mask, ChangesTheLogitsAsRemovingWorkedByHandDoes) {
  // What the mask must equal in turn: the forward pass with the inputs of w_down that the channels feed set to zero.
  const Model model = TinyModel(11);
  Plan plan = KeepAll(model);
  std::erase(plan.blocks[1].ffn_channels, 4);
  Model zeroed = CopyModel(model, at::kFloat, at::kCPU);
  zeroed.blocks[1].ffn.w_down.weight.select(1, 4).zero_();
  const Tensor ids = RandomIds(2, 2, 10, model.config.V);
  EXPECT_LT(RelativeDifference(Logits(Mask(model, plan), ids), Logits(zeroed, ids)), kRounding);
  EXPECT_GT(RelativeDifference(Logits(model, ids), Logits(zeroed, ids)), 1e-3);  // and it matters
}

TEST(Mask, OfAKvGroupSilencesExactlyTheHeadsThatReadIt) {
  // Block 1: heads 2 and 3 read group 1; their columns of w_o are 8 to 15.
  const Model model = TinyModel(12);
  Plan plan = KeepAll(model);
  plan.blocks[1].kv_groups = {0, 2};
  Model zeroed = CopyModel(model, at::kFloat, at::kCPU);
  zeroed.blocks[1].attention.w_o.weight.narrow(1, 8, 8).zero_();
  const Tensor ids = RandomIds(3, 2, 10, model.config.V);
  EXPECT_LT(RelativeDifference(Logits(Mask(model, plan), ids), Logits(zeroed, ids)), kRounding);
  EXPECT_GT(RelativeDifference(Logits(model, ids), Logits(zeroed, ids)), 1e-3);
}

TEST(Cut, KeepsTheRowsAndColumnsOfWhatStays) {
  const Model model = TinyModel(13);
  Plan plan = KeepAll(model);
  plan.blocks[1].kv_groups = {2};
  plan.blocks[1].ffn_channels = {3, 17};
  const Model cut = Cut(model, plan);
  const Block &before = model.blocks[1], &after = cut.blocks[1];
  EXPECT_EQ(cut.config.blocks[1].H, 2);
  EXPECT_EQ(cut.config.blocks[1].kv_of_head, (std::vector<int64_t>{0, 0}));  // heads 4 and 5, group 2 renumbered
  EXPECT_TRUE(at::equal(after.attention.w_q.weight, before.attention.w_q.weight.narrow(0, 16, 8)));
  EXPECT_TRUE(at::equal(after.attention.w_k.weight, before.attention.w_k.weight.narrow(0, 8, 4)));
  EXPECT_TRUE(at::equal(after.attention.w_o.weight, before.attention.w_o.weight.narrow(1, 16, 8)));
  const Tensor channels = at::tensor({3, 17}, at::kLong);
  EXPECT_TRUE(at::equal(after.ffn.w_gate.weight, before.ffn.w_gate.weight.index_select(0, channels)));
  EXPECT_TRUE(at::equal(after.ffn.w_down.weight, before.ffn.w_down.weight.index_select(1, channels)));
  EXPECT_EQ(after.attention_norm.data_ptr(), before.attention_norm.data_ptr());  // nothing lost, nothing copied
  EXPECT_EQ(cut.blocks[0].ffn.w_up.weight.data_ptr(), model.blocks[0].ffn.w_up.weight.data_ptr());
}

TEST(Cut, LeavesTheModelItReadsAlone) {
  const Model model = TinyModel(14);
  const Model before = CopyModel(model, at::kFloat, at::kCPU);
  const Plan plan = RandomPlan(model, 3, 0.5, {UnitKind::kKvGroup, UnitKind::kFfnChannel});
  Cut(model, plan);
  Mask(model, plan);
  EXPECT_TRUE(BitwiseEqual(model, before));
  EXPECT_TRUE(BitwiseEqual(Cut(model, KeepAll(model)), model));
}

TEST(Cut, RefusesThePlanOfAnotherModel) {
  const Model model = TinyModel(15);
  Plan plan = KeepAll(model);
  plan.blocks[2].ffn_channels_before = 27;
  EXPECT_EQ(MessageOf([&] { Cut(model, plan); }),
            "plan: block 2: made for 1 KV groups and 27 FFN channels, the model has 1 and 28; plan this model again");
  plan.blocks.pop_back();
  EXPECT_EQ(MessageOf([&] { Mask(model, plan); }), "plan: 2 blocks, the model has 3; plan this model again");
}

TEST(CheckCutEqualsMask, ThrowsWhenAWeightOfTheCutModelIsTamperedWith) {
  const Model model = TinyModel(16);
  const Plan plan = RandomPlan(model, 5, 0.6, {UnitKind::kKvGroup, UnitKind::kFfnChannel});
  const Tensor ids = RandomIds(5, 2, 10, model.config.V);
  const Model masked = Mask(model, plan), cut = Cut(model, plan);
  EXPECT_LT(CheckCutEqualsMask(cut, masked, ids, kRounding), kRounding);
  for (const Role role : kRoles) {
    if (!cut.blocks[0].At(role).defined()) continue;
    Model tampered = CopyModel(cut, at::kFloat, at::kCPU);
    tampered.blocks[0].At(role).weight[0][0] += 1;
    EXPECT_THROW(CheckCutEqualsMask(tampered, masked, ids, kRounding), NumericError) << RoleName(role);
  }
  Model broken = CopyModel(cut, at::kFloat, at::kCPU);
  broken.final_norm[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(CheckCutEqualsMask(broken, masked, ids, kRounding), NumericError);
}

TEST(CheckCutEqualsMask, ReturnsTheDifferenceRelativeToTheLargestLogit) {
  const Model model = TinyModel(17, {.tied_head = false});
  Model doubled = model;
  doubled.head = model.head * 1.25;
  EXPECT_NEAR(CheckCutEqualsMask(doubled, model, RandomIds(6, 1, 8, model.config.V), 1), 0.25, 1e-6);
}

TEST(KeptColumns, AreThoseOfTheConsumerInAscendingOrder) {
  const Model model = TinyModel(18);
  EXPECT_EQ(KeptColumns(model, 1, UnitKind::kKvGroup, {0}), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(KeptColumns(model, 2, UnitKind::kFfnChannel, {2, 9}), (std::vector<int64_t>{2, 9}));
  EXPECT_TRUE(KeptColumns(model, 1, UnitKind::kKvGroup, {}).empty());
}

}  // namespace
}  // namespace espalier
