#include "../../src/analyze/regime.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quiet_model.h"

namespace espalier {
namespace {

using at::Tensor;

// An FFN whose pre-activations are its inputs.
Model Transparent(Activation activation) {
  Model model = QuietModel(1);
  model.config.activation = activation;
  model.blocks[0].ffn.w_gate.weight = at::eye(16);
  return model;
}

Regime Measure(const Model& model, const Tensor& normed, const Tensor& spikes, const AnalyzeOptions& options = {}) {
  BlockTaps taps({});
  taps.Observe(0, Site::kFfnNorm, normed);
  taps.Observe(0, Site::kFfnHidden, normed);
  RegimeMeter meter(model, 0, options);
  meter.Add(taps, spikes);
  BlockPhenomena block;
  meter.Finish(block);
  return block.regime;
}

TEST(RegimeMeter, FindsSiluTheIdentityOfLargePositiveInputsAndNotOfOthers) {
  // Ordinary token: half of it 20, half -20, of which silu leaves the first half: cosine and ratio 1 / sqrt(2).
  Tensor normed = at::full({1, 2, 16}, 30.f);
  normed.select(1, 1).fill_(20).narrow(1, 0, 8).fill_(-20);
  const Regime regime = Measure(Transparent(Activation::kSilu), normed, at::tensor({1, 0}).to(at::kBool).unsqueeze(0));
  EXPECT_EQ(regime.spike_tokens, 1);
  EXPECT_NEAR(regime.spike_cosine, 1, 1e-6);
  EXPECT_NEAR(regime.spike_ratio, 1, 1e-6);
  EXPECT_NEAR(regime.other_cosine, std::sqrt(0.5), 1e-6);
  EXPECT_NEAR(regime.other_ratio, std::sqrt(0.5), 1e-6);
}

TEST(RegimeMeter, KnowsTheModelsActivation) {
  // At 1: silu 1 / (1 + e^-1) = 0.7311, gelu by tanh 0.8412.
  const Tensor normed = at::ones({1, 1, 16}), none = at::zeros({1, 1}, at::kBool);
  EXPECT_NEAR(Measure(Transparent(Activation::kSilu), normed, none).other_ratio, 0.7311, 1e-4);
  EXPECT_NEAR(Measure(Transparent(Activation::kGeluTanh), normed, none).other_ratio, 0.8412, 1e-4);
}

TEST(RegimeMeter, TakesNoMoreTokensThanItMay) {
  const Tensor normed = at::ones({2, 10, 16});
  const Regime regime =
      Measure(Transparent(Activation::kSilu), normed, at::ones({2, 10}, at::kBool), {.regime_tokens = 7});
  EXPECT_EQ(regime.spike_tokens, 7);
  EXPECT_NEAR(regime.spike_ratio, 0.7311, 1e-4);
  EXPECT_EQ(regime.other_ratio, 0);
}

TEST(RegimeMeter, MeasuresTheSpikeTokensOfAnalysis) {
  // One special token a window: it spikes from the up block on, and after the step-down at its block's input still.
  const Phenomena phenomena = Analyze(PlantedModel(2), PlantedIds(2, 5, 64), {}, "dense");
  EXPECT_EQ(phenomena.blocks[0].regime.spike_tokens, 0);
  for (const int64_t l : {Planted::kUpBlock, Planted::kSinkBlock, Planted::kDownBlock})
    EXPECT_EQ(phenomena.blocks[static_cast<size_t>(l)].regime.spike_tokens, 5) << l;
  EXPECT_GT(phenomena.blocks[0].regime.other_ratio, 0);
}

}  // namespace
}  // namespace espalier
