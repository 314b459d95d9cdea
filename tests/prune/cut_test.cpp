#include "espalier/prune/cut.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "espalier/core/random.h"
#include "espalier/model/forward.h"
#include "espalier/plan/ledger.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// What remains of a rounding difference: sums of fewer terms, without the zeros between them.
constexpr double kRounding = 1e-5;

// Each unit of `kinds` stays with probability `keep`.
Plan RandomPlan(const Model& model, uint64_t seed, double keep, const std::vector<UnitKind>& kinds) {
  Plan plan = KeepAll(model, kinds);
  uint64_t counter = 0;
  const auto thin = [&](KeptUnits& units) {
    std::erase_if(units.kept, [&](int64_t) { return RandomUnit(seed, 0, counter++) >= keep; });
  };
  for (const UnitKind kind : kinds) {
    if (PerModel(kind)) thin(*plan.residual_channels);
    for (BlockPlan& block : plan.blocks)
      if (!PerModel(kind)) thin(block.At(kind));
  }
  // A model without any width is none.
  if (plan.residual_channels && plan.residual_channels->kept.empty()) plan.residual_channels->kept = {3};
  return plan;
}

double CutAgainstMask(const Model& model, const Plan& plan) {
  return CheckCutEqualsMask(Cut(model, plan), Mask(model, plan), RandomIds(1, 3, 12, model.config.V), kRounding);
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

std::vector<UnitKind> EveryKind() {
  std::vector<UnitKind> kinds;
  for (const UnitKindInfo& info : UnitKinds()) kinds.push_back(info.kind);
  return kinds;
}

TEST(Cut, EqualsTheMaskForEveryFamilyLayoutAndUnitKind) {
  for (const auto& [name, shape] : FamilyShapes())
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const Model model = TinyModel(seed, shape);
      for (const UnitKind kind : EveryKind())
        for (const double keep : {0.8, 0.4}) {
          SCOPED_TRACE(testing::Message() << name << " " << seed << " " << UnitKindName(kind) << " " << keep);
          EXPECT_NO_THROW(CutAgainstMask(model, RandomPlan(model, seed, keep, {kind})));
        }
    }
}

TEST(Cut, EqualsTheMaskForMixesOfOverlappingKinds) {
  const std::vector<std::vector<UnitKind>> mixes = {
      {UnitKind::kKvGroup, UnitKind::kQueryHead, UnitKind::kValueChannel, UnitKind::kQkPair},
      {UnitKind::kValueChannel, UnitKind::kFfnChannel, UnitKind::kResidualChannel},
      {UnitKind::kQueryHead, UnitKind::kAttention, UnitKind::kFfn, UnitKind::kBlock},
      EveryKind()};
  for (const auto& [name, shape] : FamilyShapes())
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const Model model = TinyModel(seed, shape);
      for (size_t mix = 0; mix < mixes.size(); ++mix) {
        SCOPED_TRACE(testing::Message() << name << " " << seed << " mix " << mix);
        EXPECT_NO_THROW(CutAgainstMask(model, RandomPlan(model, seed, 0.8, mixes[mix])));
      }
    }
}

TEST(Cut, ChangesTheLogitsByEveryKindOfUnit) {
  // A mask that did nothing would equal a cut that did nothing.
  const Model model = TinyModel(4);
  const Tensor ids = RandomIds(4, 2, 10, model.config.V);
  for (const UnitKind kind : EveryKind()) {
    Plan plan = KeepAll(model, {kind});
    KeptUnits& units = PerModel(kind) ? *plan.residual_channels : plan.blocks[1].At(kind);
    units.kept.erase(units.kept.begin());
    EXPECT_GT(RelativeDifference(Logits(Mask(model, plan), ids), Logits(model, ids)), 1e-3) << UnitKindName(kind);
    const Model cut = Cut(model, plan);
    EXPECT_LT(CountParameters(cut), CountParameters(model)) << UnitKindName(kind);
  }
}

TEST(Cut, MakesRaggedHeadsReallySmaller) {
  // Block 1: H = 6, G = 3, D = 4, C = 16. Group 1 (heads 2, 3) loses value channel 6 (its dimension 2) and rotary pair
  // 3 (its dimensions 1 and 3); head 5 goes.
  const Model model = TinyModel(5);
  Plan plan = KeepAll(model, {UnitKind::kQueryHead, UnitKind::kValueChannel, UnitKind::kQkPair});
  std::erase(plan.blocks[1].At(UnitKind::kValueChannel).kept, 6);
  std::erase(plan.blocks[1].At(UnitKind::kQkPair).kept, 3);
  std::erase(plan.blocks[1].At(UnitKind::kQueryHead).kept, 5);
  const Model cut = Cut(model, plan);
  const BlockConfig& sizes = cut.config.blocks[1];
  EXPECT_EQ(sizes.kv_of_head, (std::vector<int64_t>{0, 0, 1, 1, 2}));
  EXPECT_EQ(sizes.value_channels, (std::vector<std::vector<int64_t>>{{0, 1, 2, 3}, {0, 1, 3}, {0, 1, 2, 3}}));
  EXPECT_EQ(sizes.qk_dims, (std::vector<std::vector<int64_t>>{{0, 1, 2, 3}, {0, 2}, {0, 1, 2, 3}}));
  const Attention& attention = cut.blocks[1].attention;
  EXPECT_EQ(attention.w_q.weight.size(0), 5 * 4 - 2 * 2);
  EXPECT_EQ(attention.w_k.weight.size(0), 12 - 2);
  EXPECT_EQ(attention.w_v.weight.size(0), 12 - 1);
  EXPECT_EQ(attention.w_o.weight.size(1), 5 * 4 - 2);
  EXPECT_FALSE(cut.config.blocks[0].Ragged());
}

TEST(Cut, TakesAGroupWithItsLastHeadAndAHeadWithItsLastValueChannel) {
  const Model model = TinyModel(6);
  Plan plan = KeepAll(model, {UnitKind::kQueryHead, UnitKind::kValueChannel});
  plan.blocks[1].At(UnitKind::kQueryHead).kept = {2, 3, 4, 5};                 // heads 0 and 1 read group 0
  plan.blocks[1].At(UnitKind::kValueChannel).kept = {0, 1, 2, 3, 4, 5, 6, 7};  // all 4 of group 2 go
  plan.blocks[0].At(UnitKind::kValueChannel).kept = {};                        // and all attention here
  const Model cut = Cut(model, plan);
  EXPECT_EQ(cut.config.blocks[1].G, 1);
  EXPECT_EQ(cut.config.blocks[1].kv_of_head, (std::vector<int64_t>{0, 0}));
  EXPECT_FALSE(cut.config.blocks[1].Ragged());
  EXPECT_FALSE(cut.config.blocks[0].HasAttention());
  EXPECT_NO_THROW(CutAgainstMask(model, plan));
}

TEST(Cut, OfEveryKindIsExactWithALargeEpsilon) {
  for (const auto& [name, shape] : FamilyShapes()) {
    Model model = TinyModel(8, shape);
    model.config.norm_epsilon = 0.5;
    EXPECT_NO_THROW(CutAgainstMask(model, RandomPlan(model, 8, 0.8, EveryKind()))) << name;
  }
}

TEST(Cut, OfResidualChannelsIsExactWithALargeEpsilon) {
  // Where a wrong epsilon would show: it is as large as the mean square.
  for (const auto& [name, shape] : FamilyShapes()) {
    Model model = TinyModel(7, shape);
    model.config.norm_epsilon = 0.5;
    model.config.embedding_scale = 4;  // sqrt(C), as Gemma's
    const Plan plan = RandomPlan(model, 7, 0.6, {UnitKind::kResidualChannel});
    const Model cut = Cut(model, plan);
    EXPECT_NO_THROW(CheckCutEqualsMask(cut, Mask(model, plan), RandomIds(7, 2, 12, model.config.V), kRounding)) << name;
    const auto kept = static_cast<double>(plan.residual_channels->kept.size());
    EXPECT_EQ(cut.config.C, static_cast<int64_t>(kept));
    EXPECT_NEAR(cut.config.embedding_scale, std::sqrt(kept), 1e-12);  // what a reader of the width will assume
    EXPECT_NEAR(cut.config.norm_epsilon, 0.5 * 16 / kept, 1e-12);
    EXPECT_EQ(cut.config.AttentionScale(), model.config.AttentionScale());
  }
}

TEST(Cut, TakesGateRowsNormsAndSinkLogitsOfTheHeadsThatGo) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(3, shape);
    Plan plan = KeepAll(model);
    plan.blocks[0].At(UnitKind::kKvGroup).kept = {1};  // heads 2 and 3 of 4 stay
    const Attention cut = Cut(model, plan).blocks[0].attention;
    const Attention& whole = model.blocks[0].attention;
    const int64_t D = shape.D;
    // A norm over all heads takes its mean over half as many values: inputs and factor make up for it.
    const double scale = shape.qk_norm == QkNorm::kAllHeads ? std::sqrt(2.0) : 1;
    EXPECT_TRUE(at::equal(cut.w_q.weight, whole.w_q.weight.narrow(0, 2 * D, 2 * D) / scale));
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
    if (shape.qk_norm == QkNorm::kAllHeads) {
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
    plan.blocks[0].At(UnitKind::kKvGroup).kept.clear();
    plan.blocks[1].At(UnitKind::kFfnChannel).kept.clear();
    plan.blocks[2].At(UnitKind::kKvGroup).kept.clear();
    plan.blocks[2].At(UnitKind::kFfnChannel).kept.clear();
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
  std::erase(plan.blocks[1].At(UnitKind::kFfnChannel).kept, 4);
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
  plan.blocks[1].At(UnitKind::kKvGroup).kept = {0, 2};
  Model zeroed = CopyModel(model, at::kFloat, at::kCPU);
  zeroed.blocks[1].attention.w_o.weight.narrow(1, 8, 8).zero_();
  const Tensor ids = RandomIds(3, 2, 10, model.config.V);
  EXPECT_LT(RelativeDifference(Logits(Mask(model, plan), ids), Logits(zeroed, ids)), kRounding);
  EXPECT_GT(RelativeDifference(Logits(model, ids), Logits(zeroed, ids)), 1e-3);
}

TEST(Cut, KeepsTheRowsAndColumnsOfWhatStays) {
  const Model model = TinyModel(13);
  Plan plan = KeepAll(model);
  plan.blocks[1].At(UnitKind::kKvGroup).kept = {2};
  plan.blocks[1].At(UnitKind::kFfnChannel).kept = {3, 17};
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
  plan.blocks[2].At(UnitKind::kFfnChannel).before = 27;
  EXPECT_EQ(MessageOf([&] { Cut(model, plan); }),
            "plan: block 2: made for 27 ffn_channels, the model has 28; plan this model again");
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

TEST(CheckCutEqualsMask, MeasuresInDoublePrecisionWhatRoundingMayExplain) {
  const Model model = TinyModel(16);
  const Plan plan = RandomPlan(model, 5, 0.6, {UnitKind::kKvGroup, UnitKind::kFfnChannel});
  const Tensor ids = RandomIds(5, 2, 10, model.config.V);
  const double rounding = CheckCutEqualsMask(Cut(model, plan), Mask(model, plan), ids, 1);
  ASSERT_GT(rounding, 1e-9);  // of float32
  EXPECT_LT(CheckCutEqualsMask(Cut(model, plan), Mask(model, plan), ids, 1e-9), 1e-12);
}

TEST(CheckCutEqualsMask, ReturnsTheDifferenceRelativeToTheLargestLogit) {
  const Model model = TinyModel(17, {.tied_head = false});
  Model doubled = model;
  doubled.head = model.head * 1.25;
  EXPECT_NEAR(CheckCutEqualsMask(doubled, model, RandomIds(6, 1, 8, model.config.V), 1), 0.25, 1e-6);
}

TEST(KeptColumns, AreThoseOfTheConsumerInAscendingOrder) {
  const Model model = TinyModel(18);
  Plan plan = KeepAll(model, {UnitKind::kQueryHead, UnitKind::kValueChannel, UnitKind::kFfn});
  plan.blocks[1].At(UnitKind::kKvGroup).kept = {0};
  plan.blocks[1].At(UnitKind::kQueryHead).kept = {1, 2, 3, 4, 5};  // 2 to 5 go with their groups
  std::erase(plan.blocks[1].At(UnitKind::kValueChannel).kept, 2);
  plan.blocks[1].At(UnitKind::kFfn).kept.clear();
  plan.blocks[2].At(UnitKind::kFfnChannel).kept = {2, 9};
  EXPECT_EQ(KeptColumns(model, plan, 1, Role::kO), (std::vector<int64_t>{4, 5, 7}));  // head 1 without dimension 2
  EXPECT_TRUE(KeptColumns(model, plan, 1, Role::kDown).empty());
  EXPECT_EQ(KeptColumns(model, plan, 2, Role::kDown), (std::vector<int64_t>{2, 9}));
  EXPECT_EQ(KeptColumns(model, plan, 0, Role::kDown).size(), 24u);
}

}  // namespace
}  // namespace espalier
