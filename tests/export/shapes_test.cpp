#include "espalier/export/shapes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/export/verify.h"
#include "espalier/model/load.h"
#include "espalier/plan/ledger.h"
#include "espalier/prune/cut.h"
#include "model/fixture.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

constexpr double kRounding = 1e-5;  // sums of float32 in another order

// Sublayers gone first, in the middle and last, each with a constant; one block without either.
Model Ragbag(uint64_t seed, bool biases = true) {
  TinyShape shape;
  shape.blocks = {{0, 0, 24}, {4, 2, 0}, {0, 0, 0}, {6, 3, 20}, {0, 0, 12}, {2, 1, 28}, {2, 2, 0}};
  shape.biases = biases;
  Model model = TinyModel(seed, shape);
  if (!biases) return model;
  for (size_t l = 0; l < model.blocks.size(); ++l) {
    const at::Tensor constant = at::arange(shape.C, at::kFloat) * 0.01 * static_cast<double>(l + 1);
    if (!model.config.blocks[l].HasAttention()) model.blocks[l].attention.w_o.bias = constant;
    if (!model.config.blocks[l].HasFeedForward()) model.blocks[l].ffn.w_down.bias = -constant * 2;
  }
  return model;
}

TEST(FoldRemoved, KeepsLogitsAndLeavesNoConstantsOfAttentionButTheFirst) {
  const Model model = Ragbag(1);
  const Model folded = FoldRemoved(model);
  EXPECT_EQ(folded.config.L(), 6);  // one of seven had neither sublayer
  EXPECT_LT(LogitDifference(folded, model), kRounding);
  EXPECT_TRUE(folded.blocks[0].attention.w_o.bias.defined());  // nothing before it
  for (size_t l = 1; l < folded.blocks.size(); ++l)
    if (!folded.config.blocks[l].HasAttention()) {
      EXPECT_FALSE(folded.blocks[l].attention.w_o.bias.defined()) << l;
    }
}

TEST(FoldRemoved, LeavesOneBlockOfAModelThatLostAll) {
  TinyShape shape;
  shape.blocks = {{0, 0, 0}, {0, 0, 0}};
  const Model model = TinyModel(2, shape);
  EXPECT_EQ(FoldRemoved(model).config.L(), 1);
  EXPECT_LT(LogitDifference(FoldRemoved(model), model), kRounding);
}

TEST(PaddedUniform, KeepsLogitsWhateverIsGone) {
  for (const bool biases : {false, true}) {
    const Model model = Ragbag(3, biases), padded = PaddedUniform(model);
    EXPECT_FALSE(IsUniform(model.config));
    EXPECT_TRUE(IsUniform(padded.config));
    EXPECT_NO_THROW(CheckShapes(padded));
    EXPECT_LT(LogitDifference(padded, model), kRounding);
  }
}

TEST(PaddedUniform, TakesTheMostGroupsAndTheMostHeadsOfAGroup) {
  TinyShape shape;
  shape.blocks = {{4, 4, 8}, {6, 2, 24}};  // 4 groups of 1; 2 groups of 3
  const Model padded = PaddedUniform(TinyModel(4, shape));
  EXPECT_EQ(padded.config.blocks[0].H, 12);
  EXPECT_EQ(padded.config.blocks[0].G, 4);
  EXPECT_EQ(padded.config.blocks[0].F, 24);
}

class PaddedFamilies : public testing::TestWithParam<const char*> {};

// Query heads, value channels, rotary pairs and FFN channels gone: heads uneven and ragged.
TEST_P(PaddedFamilies, KeepLogitsOfRaggedHeads) {
  const Model model = LoadModel(Fixture(GetParam()), at::kFloat, at::kCPU);
  const std::vector<UnitKind> width = {UnitKind::kQueryHead, UnitKind::kValueChannel, UnitKind::kQkPair};
  Plan plan = KeepAll(model, {width[0], width[1], width[2], UnitKind::kFfnChannel});
  for (const UnitKind kind : width)
    std::erase_if(plan.blocks[0].At(kind).kept, [](int64_t unit) { return unit % 3 == 1; });
  std::erase_if(plan.blocks[1].At(UnitKind::kFfnChannel).kept, [](int64_t unit) { return unit % 2 == 1; });
  const Model cut = Cut(model, plan);
  ASSERT_TRUE(cut.config.blocks[0].Ragged());
  EXPECT_LT(LogitDifference(PaddedUniform(cut), cut), kRounding);
}

INSTANTIATE_TEST_SUITE_P(OfDisk, PaddedFamilies,
                         testing::Values("tiny-llama", "tiny-mistral", "tiny-qwen2", "tiny-qwen3", "tiny-gemma3",
                                         "tiny-qwen3-gated-elementwise", "tiny-qwen3-gated-headwise", "tiny-sinks"));

TEST(PaddedUniform, RefusesWhatZerosWouldChange) {
  TinyShape shape;
  shape.qk_norm = QkNorm::kAllHeads;
  const Model model = TinyModel(5, shape);
  EXPECT_NE(MessageOf([&] { PaddedUniform(model); }).find("one norm spans all heads"), std::string::npos);
  Model whole = TinyModel(6);
  EXPECT_NE(MessageOf([&] { PadBlock(whole, 0, {1, 1, 1}); }).find("do not fit"), std::string::npos);
}

}  // namespace
}  // namespace espalier
