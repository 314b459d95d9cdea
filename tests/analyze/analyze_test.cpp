#include "espalier/analyze/analyze.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/model/forward.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kLength = 64;

// One block of one head, D = 4, whose attention weights are known: token 0 has a key that every query meets with
// log(weight), all others with 0. Tokens are one-hot, so RMSNorm makes each sqrt(C) = 4 in its own channel; queries
// read all of them alike through the pair of dimensions that turns slowest.
Model AttentionByHand(double weight) {
  TinyShape shape{.C = 16, .V = 4, .D = 4, .blocks = {{1, 1, 0}}};
  Model model = TinyModel(1, shape);
  model.config.rope.theta = 1e30;  // the second pair does not turn
  model.config.norm_epsilon = 0;
  model.embedding = at::eye(4, 16);
  Block& block = model.blocks[0];
  block.attention_norm = at::ones({16});
  block.attention.w_q.weight = at::zeros({4, 16});
  block.attention.w_k.weight = at::zeros({4, 16});
  // score = q k / sqrt(D) = (4 * 1) (4 * k) / 2 = 8 k = log(weight)
  block.attention.w_q.weight[1].fill_(1);
  block.attention.w_k.weight[1][0] = std::log(weight) / 8;
  return model;
}

TEST(Sinks, OfUniformAttentionAreNone) {
  // alpha_1 = (1 + 1/2 + ... + 1/64) / 64 = 4.7439 / 64 = 0.0741.
  Model model = TinyModel(1);
  for (Block& block : model.blocks) block.attention.w_q.weight.zero_();
  const Phenomena phenomena = Analyze(model, RandomIds(1, 5, kLength, model.config.V), {.batch = 2}, "dense");
  EXPECT_NEAR(phenomena.first_token_mass, 0.0741, 5e-5);
  EXPECT_EQ(phenomena.sink_rate, 0);
  ASSERT_EQ(phenomena.blocks[1].heads.size(), 6u);
  for (const HeadPhenomena& head : phenomena.blocks[1].heads) {
    EXPECT_NEAR(head.first_token_mass, 0.0741, 5e-5);
    EXPECT_FALSE(head.IsSink());
  }
}

TEST(Sinks, OfAHeadThatLooksAtPositionZeroOnlyAreOne) {
  const Phenomena phenomena =
      Analyze(AttentionByHand(1e30), at::tensor({0, 1, 2, 3}, at::kLong).view({1, 4}), {.sink_length = 4}, "dense");
  EXPECT_NEAR(phenomena.first_token_mass, 1.0, 1e-6);
  EXPECT_EQ(phenomena.sink_rate, 1);
  EXPECT_TRUE(phenomena.blocks[0].heads[0].IsSink());
}

TEST(Sinks, MatchAnExampleOfThreeTokensWorkedByHand) {
  // Token 0 weighs 2, the others 1. Text 0 1 2: attention to position 0 is 1, 2/3, 2/4: mean 13/18.
  // Text 1 0 2: 1, 1/3, 1/4: mean 19/36. Above 0.6 is the first only: half of the texts, so the head is no sink.
  const Tensor windows = at::tensor({0, 1, 2, 1, 0, 2}, at::kLong).view({2, 3});
  const Phenomena at_06 = Analyze(AttentionByHand(2), windows, {.sink_epsilon = 0.6, .sink_length = 3}, "dense");
  EXPECT_NEAR(at_06.first_token_mass, (13.0 / 18 + 19.0 / 36) / 2, 1e-6);
  EXPECT_EQ(at_06.sink_rate, 0.5);
  EXPECT_FALSE(at_06.blocks[0].heads[0].IsSink());
  const Phenomena at_05 = Analyze(AttentionByHand(2), windows, {.sink_epsilon = 0.5, .sink_length = 3}, "dense");
  EXPECT_EQ(at_05.sink_rate, 1);
  EXPECT_TRUE(at_05.blocks[0].heads[0].IsSink());
}

TEST(Sinks, AreCountedOverTheFirstTokensOnlyAndTheMassOverAll) {
  // Text 0 1 2 3 of the model above: 1, 2/3, 2/4, 2/5. The first two: 5/6; all: 77/120.
  const Tensor window = at::tensor({0, 1, 2, 3}, at::kLong).view({1, 4});
  const Phenomena phenomena = Analyze(AttentionByHand(2), window, {.sink_epsilon = 0.8, .sink_length = 2}, "dense");
  EXPECT_EQ(phenomena.sink_rate, 1);
  EXPECT_NEAR(phenomena.first_token_mass, 77.0 / 120, 1e-6);
  EXPECT_EQ(phenomena.sink_length, 2);
  EXPECT_EQ(phenomena.sequence_length, 4);
}

TEST(Analyze, FindsThePlantedProducerAndStepDownAndNothingElse) {
  const Phenomena phenomena = Analyze(PlantedModel(2), PlantedIds(2, 5, kLength), {.batch = 2}, "dense");
  EXPECT_EQ(phenomena.model, "dense");
  EXPECT_EQ(phenomena.sequences, 5);
  EXPECT_EQ(phenomena.spike_channels, (std::vector<int64_t>{Planted::kSpike}));
  EXPECT_EQ(phenomena.step_up, (std::vector<Sublayer>{{Planted::kUpBlock, false}}));
  EXPECT_EQ(phenomena.step_down, (std::vector<Sublayer>{{Planted::kDownBlock, false}}));
  ASSERT_EQ(phenomena.neurons.size(), 2u);

  const SpikeNeuron& up = phenomena.neurons[0];
  EXPECT_EQ(up.role, NeuronRole::kStepUp);
  EXPECT_EQ(up.block, Planted::kUpBlock);
  EXPECT_EQ(up.index, Planted::kUpNeuron);
  EXPECT_EQ(up.channel, Planted::kSpike);
  EXPECT_EQ(up.position, 0);
  EXPECT_NEAR(up.activation, 400, 0.1);  // support/tiny_model.h; norm epsilon 1e-5 takes 1e-5 of it
  EXPECT_NEAR(up.contribution, 1000, 0.1);

  const SpikeNeuron& down = phenomena.neurons[1];
  EXPECT_EQ(down.role, NeuronRole::kStepDown);
  EXPECT_EQ(down.block, Planted::kDownBlock);
  EXPECT_EQ(down.index, Planted::kDownNeuron);
  EXPECT_EQ(down.channel, Planted::kSpike);
  EXPECT_NEAR(down.contribution, -960, 0.1);
}

TEST(Analyze, FollowsTheSpikeThroughTheBlocks) {
  const Phenomena phenomena = Analyze(PlantedModel(2), PlantedIds(2, 5, kLength), {.batch = 2}, "dense");
  EXPECT_LT(phenomena.blocks[0].ffn.residual_max, 10);
  for (const int64_t block : {Planted::kUpBlock, Planted::kSinkBlock}) {
    const BlockPhenomena& at = phenomena.blocks[static_cast<size_t>(block)];
    EXPECT_NEAR(at.ffn.residual_max, 1000, 0.1);
    EXPECT_EQ(at.ffn.residual_top.front().channel, Planted::kSpike);
    EXPECT_EQ(at.ffn.residual_top.front().position, 0);
    EXPECT_NEAR(at.ffn.residual_top.front().value, 1000, 0.1);
    EXPECT_LE(at.ffn.residual_top.size(), 3u);
    EXPECT_LT(at.ffn.residual_median, 1);
  }
  EXPECT_NEAR(phenomena.blocks[Planted::kDownBlock].ffn.residual_max, 40, 0.1);
  EXPECT_NEAR(phenomena.blocks[Planted::kUpBlock].ffn.output_max, 1000, 0.1);
  EXPECT_NEAR(phenomena.blocks[Planted::kDownBlock].ffn.output_max, 960, 0.1);
}

TEST(Analyze, FindsThePlantedSinkHeadAmongTheOthers) {
  const Phenomena phenomena = Analyze(PlantedModel(2), PlantedIds(2, 5, kLength), {}, "dense");
  for (size_t l = 0; l < phenomena.blocks.size(); ++l)
    for (size_t head = 0; head < phenomena.blocks[l].heads.size(); ++head) {
      const bool planted = l == Planted::kSinkBlock && head == Planted::kSinkHead;
      EXPECT_EQ(phenomena.blocks[l].heads[head].IsSink(), planted) << "block " << l << " head " << head;
      if (planted) {
        EXPECT_GT(phenomena.blocks[l].heads[head].first_token_mass, 0.999);
      }
    }
  EXPECT_EQ(phenomena.sink_rate, 1.0 / 16);  // one of 4 * 4 heads
}

TEST(Analyze, FindsNothingWhereNothingIsPlanted) {
  const Phenomena phenomena = Analyze(PlantedModel(2, /*plant=*/false), PlantedIds(2, 5, kLength), {}, "control");
  EXPECT_TRUE(phenomena.neurons.empty());
  EXPECT_TRUE(phenomena.spike_channels.empty());
  EXPECT_TRUE(phenomena.step_up.empty());
  EXPECT_TRUE(phenomena.super_weights.empty());
  EXPECT_EQ(phenomena.sink_rate, 0);
}

TEST(Analyze, TakesModelsWithRemovedSublayers) {
  const Model model = TinyModel(3, {.blocks = {{4, 2, 0}, {0, 0, 8}, {0, 0, 0}}});
  const Phenomena phenomena = Analyze(model, RandomIds(3, 2, kLength, model.config.V), {}, "pruned");
  EXPECT_EQ(phenomena.blocks.size(), 3u);
  EXPECT_TRUE(phenomena.blocks[1].heads.empty());
  EXPECT_GT(phenomena.first_token_mass, 0);  // of the heads that there are
}

TEST(Analyze, RefusesWindowsShorterThanTheSinkLength) {
  EXPECT_EQ(MessageOf([] { Analyze(TinyModel(1), RandomIds(1, 1, 63, 32), {}, "dense"); }),
            "analyze: windows of 63 tokens, expected at least sink_length = 64");
}

class SeesAll : public Observer {
 public:
  bool Wants(int64_t, Site) const override { return true; }
  void Observe(int64_t, Site, const Tensor&) override { ++seen; }
  int seen = 0;
};

TEST(Observers, LeaveLogitsEqualBitByBit) {
  const Model model = TinyModel(4);
  const Tensor ids = RandomIds(4, 2, 20, model.config.V);
  SeesAll all;
  EXPECT_TRUE(at::equal(Logits(model, ids, &all), Logits(model, ids)));
  EXPECT_EQ(all.seen, 3 * 14 + 2);  // 13 sites of 3 blocks, final norm, logits
}

TEST(FindSuperWeights, FindsThePlantedOneAndLeavesTheModelUntouched) {
  const Model model = PlantedModel(5);
  const Model before = CopyModel(model, at::kFloat, at::kCPU);
  const std::vector<SuperWeight> found = FindSuperWeights(model, PlantedIds(5, 1, 16), 50);
  // Without it there is no spike left for the step-down neuron to answer: one and no more.
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].block, Planted::kUpBlock);
  EXPECT_EQ(found[0].row, Planted::kSpike);
  EXPECT_EQ(found[0].column, Planted::kUpNeuron);
  EXPECT_EQ(found[0].weight, 2.5);
  EXPECT_NEAR(found[0].input, 400, 0.1);
  EXPECT_NEAR(found[0].output, 1000, 0.1);
  EXPECT_TRUE(BitwiseEqual(model, before));
}

TEST(FindSuperWeights, FindsBothOfTwo) {
  // A second producer in block 0 writes 300 to another channel: the stronger one is found first, then this one.
  Model model = PlantedModel(6);
  FeedForward& ffn = model.blocks[0].ffn;
  for (Linear* linear : {&ffn.w_gate, &ffn.w_up}) {
    linear->weight[9].zero_();
    linear->weight[9][Planted::kTrigger] = 5;
  }
  ffn.w_down.weight.select(1, 9).zero_();
  ffn.w_down.weight[Planted::kTrigger][9] = 0.75;
  const std::vector<SuperWeight> found = FindSuperWeights(model, PlantedIds(6, 1, 16), 50);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].block, Planted::kUpBlock);
  EXPECT_EQ(found[1].block, 0);
  EXPECT_EQ(found[1].column, 9);
  EXPECT_NEAR(found[1].output, 300, 0.1);
}

TEST(FindSuperWeights, PassesOverBlocksWithoutAnFfn) {
  // The block after the producer's has no FFN but the constant of a removed one: nothing to find there.
  Model model = PlantedModel(7);
  model.blocks[2].ffn = FeedForward{{}, {}, {{}, at::full({16}, 5000.f), nullptr}};
  model.config.blocks[2].F = 0;
  const std::vector<SuperWeight> found = FindSuperWeights(model, PlantedIds(7, 1, 16), 50);
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].block, Planted::kUpBlock);
}

}  // namespace
}  // namespace espalier
