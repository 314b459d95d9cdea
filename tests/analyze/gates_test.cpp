#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "espalier/analyze/analyze.h"
#include "espalier/calibrate/calibrate.h"
#include "espalier/model/forward.h"
#include "support/attention_by_hand.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

double Sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

double Logit(double p) {
  return std::log(p / (1 - p));
}

Model Gated(GateKind gate, std::vector<TinyBlock> blocks = {{4, 2, 24}}) {
  TinyShape shape{.blocks = std::move(blocks)};
  shape.gate = gate;
  shape.biases = true;
  return TinyModel(1, shape);
}

void ExpectNear(const std::vector<double>& found, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], tolerance) << "at " << i;
}

TEST(GateMeter, MeasuresAPlantedBiasAsItsSigmoidInOneBin) {
  // sigmoid(-3) = 0.0474, in the first of 20 bins; 5 windows of 8 tokens and 4 heads of 4 channels are 640 scores.
  Model model = Gated(GateKind::kElementwise);
  Linear& gate = model.blocks[0].attention.w_output_gate;
  gate.weight.zero_();
  gate.bias.fill_(-3);
  const Phenomena phenomena =
      Analyze(model, RandomIds(1, 5, 8, model.config.V), {.sink_length = 8, .batch = 2}, "gated");
  ASSERT_TRUE(phenomena.blocks[0].gate.has_value());
  const GatePhenomena& measured = *phenomena.blocks[0].gate;
  EXPECT_EQ(measured.form, GateForm::kElementwise);
  EXPECT_NEAR(measured.mean, Sigmoid(-3), 1e-7);
  EXPECT_EQ(measured.below_tenth, 1);
  std::vector<int64_t> histogram(20, 0);
  histogram[0] = 640;
  EXPECT_EQ(measured.histogram, histogram);
}

TEST(GateMeter, KeepsHeadsApart) {
  // Heads at 0.055, 0.12, 0.5 and 1 (bins 1, 2, 10, 19 of 20, the last closed): the mean is 0.41875, a quarter below
  // 0.1; 2 windows of 8 tokens are 16 scores a head.
  Model model = Gated(GateKind::kHeadwise);
  Linear& gate = model.blocks[0].attention.w_output_gate;
  gate.weight.zero_();
  gate.bias = at::tensor({Logit(0.055), Logit(0.12), 0.0, 100.0}, at::kFloat);
  const GatePhenomena measured =
      Analyze(model, RandomIds(1, 2, 8, model.config.V), {.sink_length = 8}, "gated").blocks[0].gate.value();
  EXPECT_EQ(measured.form, GateForm::kHeadwise);
  ExpectNear(measured.head_mean, {0.055, 0.12, 0.5, 1}, 1e-6);
  EXPECT_EQ(measured.head_below_tenth, (std::vector<double>{1, 0, 0, 0}));
  EXPECT_NEAR(measured.mean, 1.675 / 4, 1e-6);
  EXPECT_EQ(measured.below_tenth, 0.25);
  std::vector<int64_t> histogram(20, 0);
  histogram[1] = histogram[2] = histogram[10] = histogram[19] = 16;
  EXPECT_EQ(measured.histogram, histogram);
}

TEST(GateMeter, CountsSmallOutputsByHand) {
  // Attention fixed on token 0, whose value is (0.03, -0.005, 0.0005, 2): a half below 1e-2, a quarter below 1e-3.
  // Scores 0.9, 0.1, 0.1, 0.9: (0.027, -0.0005, 0.00005, 1.8), a half and a half.
  // The control, times the mean 0.5: (0.015, -0.0025, 0.00025, 1): a half and a quarter.
  Model model = AttentionByHand(1e30);
  SetValues(model, {at::tensor({0.03, -0.005, 0.0005, 2.}), at::ones({4}), at::ones({4}), at::ones({4})});
  model.config.blocks[0].gate = GateKind::kElementwise;
  model.blocks[0].attention.w_output_gate = {
      at::zeros({4, 16}), at::tensor({Logit(0.9), Logit(0.1), Logit(0.1), Logit(0.9)}, at::kFloat), nullptr};
  const GatePhenomena gate = Analyze(model, Text({0, 1, 2, 3}), {.sink_length = 4}, "gated").blocks[0].gate.value();
  EXPECT_EQ(gate.small_before, (std::vector<double>{0.5, 0.25}));
  EXPECT_EQ(gate.small_after, (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(gate.small_control, (std::vector<double>{0.5, 0.25}));
  EXPECT_NEAR(gate.magnitude_before, (0.03 + 0.005 + 0.0005 + 2) / 4, 1e-6);
  EXPECT_NEAR(gate.magnitude_after, (0.027 + 0.0005 + 0.00005 + 1.8) / 4, 1e-6);
}

TEST(GateMeter, ScalesTheControlByTheMeanOfTheWholePass) {
  // Windows differ and come one at a time. Of 5 * 64 * 24 = 7,680 values at most 8 (1e-3) may fall between a threshold
  // and its bin's edge, 0.025 % below.
  Model model = Gated(GateKind::kElementwise, {{6, 3, 20}});
  model.blocks[0].attention.w_v.weight.mul_(0.02);
  model.blocks[0].attention.w_v.bias.zero_();
  const Tensor ids = RandomIds(2, 5, 64, model.config.V);
  BlockTaps taps({Site::kSdpaOut, Site::kGateScore});
  HiddenStates(model, ids, &taps);
  const Tensor control =
      taps.At(Site::kSdpaOut).abs() * taps.At(Site::kGateScore).mean().item<double>();  // [5, 64, 24]
  const GatePhenomena gate = Analyze(model, ids, {.batch = 1}, "gated").blocks[0].gate.value();
  for (const auto& [share, limit] : {std::pair{gate.small_control[0], 1e-2}, {gate.small_control[1], 1e-3}}) {
    const double expected = (control < limit).to(at::kDouble).mean().item<double>();
    EXPECT_GT(expected, 0.02);
    EXPECT_LT(expected, 0.98);
    EXPECT_NEAR(share, expected, 1e-3);
  }
}

TEST(GateMeter, SaysNothingOfModelsWithoutGates) {
  const Phenomena phenomena = Analyze(TinyModel(1), RandomIds(1, 1, 8, 32), {.sink_length = 8}, "dense");
  EXPECT_FALSE(phenomena.blocks[0].gate.has_value());
  EXPECT_FALSE(phenomena.HasGates());
}

TEST(GateMeter, TakesASinkLogitAsAnEffectiveGate) {
  // Token 0 weighs 2, the others 1, the extra logit 3. Text 0 1 2: the scores are 2/5, 3/6 and 4/7, mean 103/210.
  Model model = AttentionByHand(2);
  model.config.blocks[0].sink_logits = true;
  model.blocks[0].attention.sink_logits = at::full({1}, std::log(3.0));
  const Phenomena phenomena = Analyze(model, Text({0, 1, 2}), {.sink_length = 3}, "sink_logits");
  const GatePhenomena& gate = phenomena.blocks[0].gate.value();
  EXPECT_EQ(gate.form, GateForm::kSinkLogit);
  EXPECT_NEAR(gate.mean, 103.0 / 210, 1e-6);
  EXPECT_EQ(std::accumulate(gate.histogram.begin(), gate.histogram.end(), int64_t{0}), 3);
  EXPECT_EQ(gate.histogram[11], 1);  // 4/7 = 0.571
  EXPECT_TRUE(phenomena.HasSinkLogits());
  EXPECT_FALSE(phenomena.HasGates());
}

// The identity of the effective gate: softmax over [logits, s], its last column dropped, times V, equals
// softmax(logits) V times sigmoid(logsumexp(logits) - s).
TEST(GateMeter, SoftmaxWithAnExtraLogitIsSoftmaxTimesTheScore) {
  TinyShape shape{.blocks = {{6, 3, 20}}};
  shape.sink_logits = true;
  Model model = TinyModel(6, shape);
  model.config.blocks[0].window = 5;
  BlockTaps taps({Site::kQ, Site::kK, Site::kV, Site::kSdpaOut, Site::kGateScore, Site::kHeadOut});
  HiddenStates(model, RandomIds(6, 3, 20, model.config.V), &taps);
  const Tensor head_out = taps.At(Site::kHeadOut).view({3, 20, 6, 4});
  const Tensor product = taps.At(Site::kSdpaOut).view({3, 20, 6, 4}) * taps.At(Site::kGateScore);
  const Tensor hidden = at::ones({20, 20}, at::kBool).tril().triu(-4).logical_not();
  for (int64_t h = 0; h < 6; ++h) {
    const auto of = [&](Site site, int64_t head) {
      return taps.At(site).select(1, head).to(at::kDouble);
    };  // [3, 20, 4]
    const Tensor logits = (of(Site::kQ, h).matmul(of(Site::kK, h / 2).transpose(1, 2)) / 2)
                              .masked_fill(hidden, -std::numeric_limits<double>::infinity());
    const Tensor extra = model.blocks[0].attention.sink_logits[h].to(at::kDouble).expand({3, 20, 1});
    const Tensor probs = at::cat({logits, extra}, 2).softmax(2).narrow(2, 0, 20);
    const Tensor expected = probs.matmul(of(Site::kV, h / 2));
    EXPECT_LT((head_out.select(2, h) - expected).abs().max().item<double>(), 1e-6);
    EXPECT_LT((product.select(2, h) - expected).abs().max().item<double>(), 1e-6);
  }
}

}  // namespace
}  // namespace espalier
