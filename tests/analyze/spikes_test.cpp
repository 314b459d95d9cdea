#include "../../src/analyze/spikes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "../../src/analyze/life_cycle.h"
#include "espalier/analyze/analyze.h"
#include "quiet_model.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kLength = 64;

Tensor Tokens(const std::vector<std::vector<double>>& tokens) {
  std::vector<Tensor> rows;
  for (const std::vector<double>& token : tokens) rows.push_back(at::tensor(token, at::kFloat));
  return at::stack(rows).unsqueeze(0);  // [1, T, C]
}

void ExpectPeak(const Peak& peak, const Peak& expected) {
  EXPECT_EQ(peak.channel, expected.channel);
  EXPECT_EQ(peak.sequence, expected.sequence);
  EXPECT_EQ(peak.position, expected.position);
  EXPECT_NEAR(peak.value, expected.value, 1e-3 * std::abs(expected.value));
}

TEST(SublayerMeter, GivesTheCensusOfTwoTokensWorkedByHand) {
  // After: (1, 3), (-1, -3). Channel RMS 1 and 3: kurtosis (1 + 81) / 2 / ((1 + 9) / 2)^2 = 41 / 25. Lower median of
  // |1 3 1 3|: 1. Written: (0.5, 4), (-2, -1).
  SublayerMeter meter;
  const Tensor after = Tokens({{1, 3}, {-1, -3}}), written = Tokens({{0.5, 4}, {-2, -1}});
  meter.Add(after - written, written, after, {}, 0);
  const Census census = meter.Finish();
  EXPECT_DOUBLE_EQ(census.residual_kurtosis, 41.0 / 25);
  EXPECT_EQ(census.residual_median, 1);
  EXPECT_EQ(census.residual_max, 3);
  EXPECT_EQ(census.Ratio(), 3);
  EXPECT_EQ(census.output_max, 4);
  ASSERT_EQ(census.residual_top.size(), 2u);
  ASSERT_EQ(census.output_top.size(), 2u);
  ExpectPeak(census.output_top[0], {1, 0, 0, 4});
  ExpectPeak(census.output_top[1], {0, 0, 1, -2});
}

TEST(SublayerMeter, KeepsOnePeakAChannelAndThreeChannelsOverBatches) {
  SublayerMeter meter;
  const Tensor first = Tokens({{9, 1, 0, 5}, {8, 0, 0, 0}}), second = Tokens({{0, 0, -7, 0}, {-10, 0, 0, 6}});
  meter.Add(first, first, first, {}, 0);
  meter.Add(second, second, second, {}, 3);
  const Census census = meter.Finish();
  ASSERT_EQ(census.residual_top.size(), 3u);
  ExpectPeak(census.residual_top[0], {0, 3, 1, -10});
  ExpectPeak(census.residual_top[1], {2, 3, 0, -7});
  ExpectPeak(census.residual_top[2], {3, 3, 1, 6});
  ASSERT_EQ(meter.writes().size(), 3u);
  EXPECT_EQ(meter.writes()[0].written, -10);
}

TEST(IsSpike, AsksForBothPartsOfTheCriterionOfSunEtAl) {
  const AnalyzeOptions sun{.spike_ratio = 1000, .spike_absolute = 100};
  EXPECT_TRUE(IsSpike(-101, 0.1, sun));
  EXPECT_FALSE(IsSpike(100, 0.1, sun));               // not above 100
  EXPECT_FALSE(IsSpike(199, 0.2, sun));               // not above 1000 medians
  EXPECT_TRUE(IsSpike(20.1, 0.2, AnalyzeOptions()));  // ours: 100 medians, no absolute limit
  const Tensor h = Tokens({{0, -101}, {100, 3}});
  EXPECT_TRUE(at::equal(SpikeTokens(h, 0.1, sun), at::tensor({1, 0}).to(at::kBool).unsqueeze(0)));
}

TEST(SpreadRows, TakesAllOrEvenlySpreadOnes) {
  const Tensor mask = at::tensor({1, 0, 1, 1, 0, 1, 1, 1, 1}).to(at::kBool).view({3, 3});  // rows 0 2 3 5 6 7 8
  EXPECT_EQ(SpreadRows(mask, 9).size(0), 7);
  EXPECT_TRUE(at::equal(SpreadRows(mask, 3), at::tensor({0, 3, 6}, at::kLong)));  // the 0th, 2nd and 4th of seven
  EXPECT_EQ(SpreadRows(mask, 0).size(0), 0);
}

TEST(LifeCycle, FindsTheStepsOfFfnsInThePapersNumbering) {
  // +1000 written by the FFN of layer 1, -960 by that of layer L-2: blocks 4 and 2L-2 of 2L.
  constexpr int64_t kLayers = 6;
  Model model = QuietModel(kLayers);
  PlantNeuron(model.blocks[1], 7, Planted::kTrigger, Planted::kSpike, 2.5);
  PlantNeuron(model.blocks[kLayers - 2], 3, Planted::kSpike, Planted::kSpike, -2.4);
  const Phenomena phenomena = Analyze(model, PlantedIds(2, 3, kLength), {}, "dense");
  ASSERT_EQ(phenomena.step_up.size(), 1u);
  ASSERT_EQ(phenomena.step_down.size(), 1u);
  EXPECT_EQ(phenomena.step_up[0].PaperNumber(), 4);
  EXPECT_EQ(phenomena.step_down[0].PaperNumber(), 2 * kLayers - 2);
  // max |h|: layer 0 the embedding's, layers 1 to 3 1000, layers 4 and 5 40.
  const double first = phenomena.blocks[0].ffn.residual_max;
  EXPECT_LT(first, 10);
  EXPECT_NEAR(phenomena.massive_mean, (first + 3 * 1000 + 2 * 40) / 6, 0.1);
}

TEST(LifeCycle, FindsTheStepsOfAttention) {
  // A window of 1: a token sees itself only. Block 1: the special token's value 4 at the trigger, times 250, is +1000
  // to the spike channel; the second channel gets 40, no spike. Block 4: its value 4 at the spike channel, times -240,
  // is -960.
  Model model = QuietModel(6);
  for (const auto& [l, reads, weight] :
       {std::tuple{1, Planted::kTrigger, 250.0}, std::tuple{4, Planted::kSpike, -240.0}}) {
    model.config.blocks[static_cast<size_t>(l)].window = 1;
    Attention& attention = model.blocks[static_cast<size_t>(l)].attention;
    attention.w_v.weight[0].zero_();
    attention.w_v.weight[0][reads] = 1;
    attention.w_o.weight[Planted::kSpike][0] = weight;
  }
  model.blocks[1].attention.w_o.weight[Planted::kConstant][0] = 10;
  const Phenomena phenomena = Analyze(model, PlantedIds(2, 3, kLength), {}, "dense");
  ASSERT_EQ(SublayersText(phenomena.step_up), "1a");
  ASSERT_EQ(SublayersText(phenomena.step_down), "4a");
  EXPECT_EQ(phenomena.step_up[0].PaperNumber(), 3);
  EXPECT_EQ(phenomena.step_down[0].PaperNumber(), 9);
  EXPECT_TRUE(phenomena.neurons.empty());
  EXPECT_EQ(phenomena.spike_channels, (std::vector<int64_t>{Planted::kSpike}));
  const Census& up = phenomena.blocks[1].attention;
  ExpectPeak(up.output_top[0], {Planted::kSpike, 0, 0, 1000});
  ExpectPeak(up.output_top[1], {Planted::kConstant, 0, 0, 40});
  ExpectPeak(up.residual_top[0], {Planted::kSpike, 0, 0, 1000});
  EXPECT_EQ(phenomena.blocks[1].ffn.output_max, 0);
}

TEST(LifeCycle, SharesAWriteAmongNeuronsByWhatWDownGivesBeforeAPostNorm) {
  // w_down gives 600 + 300 + bias 100 = 1000; the post norm made 2000 of it: 1200 and 600.
  Model model = QuietModel(1, NormPlacement::kPost);
  Block& block = model.blocks[0];
  block.ffn.w_down.weight[Planted::kSpike].fill_(0);
  block.ffn.w_down.weight[Planted::kSpike][2] = 2.5;
  block.ffn.w_down.weight[Planted::kSpike][9] = 3;
  block.ffn.w_down.bias = at::zeros({16});
  block.ffn.w_down.bias[Planted::kSpike] = 100;
  Tensor hidden = at::ones({1, 4, 24}), written = at::zeros({1, 4, 16}), before = at::ones({1, 4, 16});
  hidden[0][0][2] = 240;
  hidden[0][0][9] = 100;
  written[0][0][Planted::kSpike] = 2000;
  BlockTaps taps({});
  taps.Observe(0, Site::kBlockInput, before);
  taps.Observe(0, Site::kAttnOut, at::zeros_like(before));
  taps.Observe(0, Site::kAttnResidual, before);
  taps.Observe(0, Site::kFfnHidden, hidden);
  taps.Observe(0, Site::kFfnOut, written);
  taps.Observe(0, Site::kBlockOutput, before + written);
  SpikeMeter meter{AnalyzeOptions()};
  meter.Add(taps, 0);
  BlockPhenomena measured;
  meter.Finish(measured);
  Phenomena phenomena;
  AddSteps(model, 0, meter, measured, {}, phenomena);
  ASSERT_EQ(phenomena.neurons.size(), 2u);
  EXPECT_EQ(phenomena.neurons[0].index, 2);
  EXPECT_NEAR(phenomena.neurons[0].contribution, 1200, 1e-3);
  EXPECT_EQ(phenomena.neurons[1].index, 9);
  EXPECT_NEAR(phenomena.neurons[1].contribution, 600, 1e-3);
  EXPECT_EQ(phenomena.neurons[1].activation, 100);
}

TEST(LifeCycle, FindsTheProducerOfAPostNormModel) {
  // No norm before the FFN: 5 * 4 = 20 as ever. Its post norm turns (kSpike: 1000) into 4 times the gain: 2000.
  Model model = QuietModel(3, NormPlacement::kPost);
  model.config.norm_epsilon = 1e-5;  // tokens to which nothing is written stay 0
  PlantNeuron(model.blocks[1], 7, Planted::kTrigger, Planted::kSpike, 2.5);
  model.blocks[1].ffn_post_norm[Planted::kSpike] = 500;
  const Phenomena phenomena = Analyze(model, PlantedIds(2, 3, kLength), {}, "dense");
  EXPECT_EQ(SublayersText(phenomena.step_up), "1");
  ASSERT_EQ(phenomena.neurons.size(), 1u);
  EXPECT_EQ(phenomena.neurons[0].index, 7);
  EXPECT_NEAR(phenomena.neurons[0].contribution, 2000, 0.1);
}

TEST(Analyze, LeavesModelAndWindowsUntouched) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(3, shape);
    const Model before = CopyModel(model, at::kFloat, at::kCPU);
    const Tensor windows = RandomIds(3, 2, kLength, model.config.V), same = windows.clone();
    Analyze(model, windows, {.spike_ratio = 2}, "dense");
    EXPECT_TRUE(BitwiseEqual(model, before)) << name;
    EXPECT_TRUE(at::equal(windows, same)) << name;
  }
}

TEST(Analyze, GivesTheSameCensusForAnyBatch) {
  const Model model = PlantedModel(2);
  const Tensor windows = PlantedIds(2, 5, kLength);
  const Phenomena one = Analyze(model, windows, {.batch = 1}, "dense"),
                  all = Analyze(model, windows, {.batch = 8}, "dense");
  for (size_t l = 0; l < one.blocks.size(); ++l) {
    EXPECT_NEAR(one.blocks[l].ffn.residual_kurtosis / all.blocks[l].ffn.residual_kurtosis, 1, 1e-5);
    EXPECT_NEAR(one.blocks[l].attention.output_max / all.blocks[l].attention.output_max, 1, 1e-5);
    EXPECT_EQ(one.blocks[l].post_norm.tokens, all.blocks[l].post_norm.tokens);
    EXPECT_EQ(one.blocks[l].regime.spike_tokens, all.blocks[l].regime.spike_tokens);
  }
  EXPECT_EQ(one.step_up, all.step_up);
  EXPECT_EQ(one.outliers.mean_per_sequence, all.outliers.mean_per_sequence);
}

TEST(FindSuperWeights, LooksBehindAPostNorm) {
  // The norm behind w_down makes 1000 to 4 * 0.01.
  Model model = PlantedModel(5);
  model.config.norm_placement = NormPlacement::kSandwich;
  for (Block& block : model.blocks) block.attention_post_norm = block.ffn_post_norm = at::full({16}, 0.01f);
  const std::vector<SuperWeight> found = FindSuperWeights(model, PlantedIds(5, 1, 16), 50);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].block, Planted::kUpBlock);
  EXPECT_EQ(found[0].row, Planted::kSpike);
  EXPECT_EQ(found[0].column, Planted::kUpNeuron);
  EXPECT_NEAR(found[0].output, 1000, 1);
}

}  // namespace
}  // namespace espalier
