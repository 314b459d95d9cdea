#include "../../src/analyze/post_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quiet_model.h"

namespace espalier {
namespace {

using at::Tensor;

TEST(EffectiveRank, IsTheNumberOfEqualSingularValues) {
  EXPECT_NEAR(EffectiveRank(at::eye(4)), 4, 1e-9);
  EXPECT_NEAR(EffectiveRank(at::ones({5, 3})), 1, 1e-6);
  EXPECT_EQ(EffectiveRank(at::zeros({5, 3})), 0);
  // Values 3 and 1: exp(-0.75 ln 0.75 - 0.25 ln 0.25) = 1.7548.
  EXPECT_NEAR(EffectiveRank(at::diag(at::tensor({3.0, 1.0}))), 1.7548, 1e-4);
}

TEST(PostNormMeter, FindsPlantedSpikesSparseAlikeAndOfFewKeys) {
  Model model = PlantedModel(2);
  for (Block& block : model.blocks) block.attention.w_k.weight.select(1, Planted::kSpike).fill_(1);
  const Phenomena phenomena = Analyze(model, PlantedIds(2, 5, 64), {}, "dense");
  EXPECT_EQ(phenomena.blocks[Planted::kUpBlock].post_norm.tokens, 0);  // not yet at its input
  for (const int64_t l : {Planted::kSinkBlock, Planted::kDownBlock}) {
    const PostNorm& measured = phenomena.blocks[static_cast<size_t>(l)].post_norm;
    EXPECT_EQ(measured.tokens, 5);
    EXPECT_GT(measured.largest, 0.99);
    EXPECT_LE(measured.largest, 1);
    EXPECT_GT(measured.energy_share, 0.95);
    EXPECT_GT(measured.cosine, 0.99);
    EXPECT_GE(measured.key_rank, 0.999);
    EXPECT_LE(measured.key_rank, static_cast<double>(phenomena.spike_channels.size()) + 1e-3);
  }
}

TEST(PostNormMeter, MeasuresTwoTokensWorkedByHand) {
  // (3, 4, 0 ..) and (0, 5, 0 ..), both of norm 5, become 4/5 of that: largest 1 (times sqrt(16)); energy on channel 0:
  // 9/25 and 0; cosine 20/25. Keys read channels 0 and 1 with gain 2: singular values of ((3, 4), (0, 5)), whose
  // product is 15 and squares' sum 50: sqrt(45) and sqrt(5), that is 3 : 1, rank 1.7548. A bias of the keys plays no
  // part.
  Model model = QuietModel(1);
  Block& block = model.blocks[0];
  block.attention_norm.fill_(2);
  block.attention.w_k.weight.zero_();
  block.attention.w_k.bias = at::full({8}, 100.f);
  for (const int64_t group : {0, 1})
    for (const int64_t channel : {0, 1}) block.attention.w_k.weight[group * 4 + channel][channel] = 1;
  Tensor h = at::zeros({1, 8, 16});
  h[0][2][0] = 3, h[0][2][1] = 4, h[0][5][1] = 5;
  BlockTaps taps({});
  taps.Observe(0, Site::kBlockInput, h);
  PostNormMeter meter(model, {});
  meter.Add(0, taps);
  Phenomena phenomena;
  phenomena.spike_channels = {0};
  phenomena.blocks.resize(1);
  meter.Finish(phenomena);
  const PostNorm& measured = phenomena.blocks[0].post_norm;
  EXPECT_EQ(measured.tokens, 2);
  EXPECT_NEAR(measured.largest, 1, 1e-12);
  EXPECT_NEAR(measured.energy_share, 9.0 / 50, 1e-9);
  EXPECT_NEAR(measured.cosine, 0.8, 1e-9);
  EXPECT_NEAR(measured.key_rank, 1.7548, 1e-4);
}

TEST(PostNormMeter, NeverFindsTheBoundBroken) {
  int64_t measured = 0;
  for (uint64_t seed = 0; seed < 6; ++seed)
    for (const auto& [name, shape] : FamilyShapes()) {
      Model model = TinyModel(seed, shape);
      model.embedding.index_fill_(0, at::tensor({0, 1, 2}, at::kLong), 0);
      model.embedding[0][3] = 1e4, model.embedding[1][7] = -1e-4, model.embedding[2][1] = 1e15;
      const Phenomena phenomena = Analyze(model, RandomIds(seed, 3, 64, 32),
                                          {.spike_ratio = 1.5, .post_norm_tokens = 20, .scan = false}, "dense");
      for (const BlockPhenomena& block : phenomena.blocks) {
        const PostNorm& found = block.post_norm;
        measured += found.tokens;
        EXPECT_LE(found.tokens, 20);
        EXPECT_LE(found.largest, 1 + 1e-12) << name << ", seed " << seed;
        EXPECT_LE(found.energy_share, 1 + 1e-12);
        EXPECT_LE(std::abs(found.cosine), 1 + 1e-12);
        EXPECT_LE(found.key_rank, static_cast<double>(shape.D) + 1e-9);
      }
    }
  EXPECT_GT(measured, 1000);
}

}  // namespace
}  // namespace espalier
