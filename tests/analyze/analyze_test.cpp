#include "espalier/analyze/analyze.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/windows.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kLength = 64;

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
  EXPECT_EQ(all.seen, 3 * 14 + 2);  // 14 sites of 3 blocks, final norm, logits
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

TEST(SmolAnalyze, FindsWhoMakesTheSpikesOfSmolLM2) {
  if (!std::filesystem::exists(ModelPath())) GTEST_SKIP() << "no model; scripts/setup fetches it";
  const Model model = LoadModel(ModelPath(), at::kFloat, at::kCPU);
  const auto tokenizer = Tokenizer::Open(ModelPath());
  const Tensor windows = PackWindows(*tokenizer, ReadCorpus({DataPath("c4/c4-sample.jsonl"), 0, 200}), 2, 512, 0);
  const Phenomena found = Analyze(model, windows, {}, "smollm2", tokenizer.get());
  EXPECT_EQ(found.spike_channels.at(0), 507);
  const auto has = [&](int64_t block, int64_t index, NeuronRole role) {
    return std::any_of(found.neurons.begin(), found.neurons.end(), [&](const SpikeNeuron& neuron) {
      return neuron.block == block && neuron.index == index && neuron.role == role;
    });
  };
  EXPECT_TRUE(has(2, 90, NeuronRole::kStepUp));
  EXPECT_TRUE(has(11, 1229, NeuronRole::kStepUp));
  EXPECT_TRUE(has(11, 1487, NeuronRole::kStepUp));
  EXPECT_TRUE(has(28, 678, NeuronRole::kStepDown));
  // A reference implementation gives 24,215 after block 11, a sink rate of 0.80 and F-Attn 0.35 on other text.
  EXPECT_NEAR(found.blocks[11].ffn.residual_max, 24500, 2000);
  EXPECT_NEAR(found.sink_rate, 0.77, 0.08);
  EXPECT_NEAR(found.first_token_mass, 0.35, 0.04);
  EXPECT_GT(found.blocks[15].post_norm.energy_share, 0.95);
  EXPECT_GT(found.blocks[15].post_norm.cosine, 0.99);
}

}  // namespace
}  // namespace espalier
