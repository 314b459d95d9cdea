#include "espalier/calibrate/calibrate.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// What the forward pass shows at one site of one block, without any of calibration's code.
class Record : public Observer {
 public:
  Record(int64_t block, Site site) : block_(block), site_(site) {}
  bool Wants(int64_t block, Site site) const override { return block == block_ && site == site_; }
  void Observe(int64_t, Site, const Tensor& seen) override { value = seen.clone(); }
  Tensor value;

 private:
  int64_t block_;
  Site site_;
};

Tensor ValueAt(const Model& model, const Tensor& windows, int64_t block, Site site) {
  Record record(block, site);
  HiddenStates(model, windows, &record);
  return record.value;
}

TEST(Calibrate, MeasuresWhatTheForwardPassShows) {
  const Model model = TinyModel(1);
  const Tensor windows = RandomIds(1, 5, 12, model.config.V);
  const Statistics statistics = Calibrate(model, windows, {.outlier_ratio = 64, .products = true, .batch = 2});
  EXPECT_EQ(statistics.sequences, 5);
  EXPECT_EQ(statistics.length, 12);
  for (int64_t l = 0; l < model.config.L(); ++l)
    for (const auto& [site, role] : {std::pair{Site::kHeadOut, Role::kO}, {Site::kFfnHidden, Role::kDown}}) {
      const Tensor value = ValueAt(model, windows, l, site).to(at::kDouble);
      // Nothing here is 64 times the median: position 0 is apart and the other 11 of each window are ordinary.
      const Tensor ordinary = value.narrow(1, 1, 11).flatten(0, 1), first = value.select(1, 0);
      const SiteStatistics& measured = statistics.blocks[static_cast<size_t>(l)].At(role);
      EXPECT_EQ(measured.counted.count, 55);
      EXPECT_EQ(measured.left_out.count, 5);
      const Tensor centred = ordinary - ordinary.mean(0);
      // Float32 activations of other batch sizes: 1e-5.
      EXPECT_LT(RelativeDifference(measured.counted.mean, ordinary.mean(0)), 1e-5);
      EXPECT_LT(RelativeDifference(measured.counted.squares, centred.square().sum(0)), 1e-5);
      EXPECT_LT(RelativeDifference(measured.counted.products, centred.t().matmul(centred)), 1e-5);
      EXPECT_LT(RelativeDifference(measured.left_out.mean, first.mean(0)), 1e-5);
    }
}

TEST(Calibrate, SaysWhichSequenceAndPositionHasTheLargestValue) {
  const Model model = TinyModel(2);
  const Tensor windows = RandomIds(2, 5, 9, model.config.V);
  const Moments moments = Calibrate(model, windows, {.batch = 2}).blocks[1].ffn_hidden.counted;
  const Tensor value = ValueAt(model, windows, 1, Site::kFfnHidden);
  for (int64_t channel = 0; channel < value.size(2); ++channel) {
    const int64_t sequence = moments.max_at[channel][0].item<int64_t>(),
                  position = moments.max_at[channel][1].item<int64_t>();
    EXPECT_NEAR(std::abs(value[sequence][position][channel].item<double>()), moments.max[channel].item<double>(), 1e-5);
    EXPECT_GE(moments.max[channel].item<double>() + 1e-5,
              value.select(2, channel).narrow(1, 1, 8).abs().max().item<double>());
  }
}

class CalibrateEveryWeighting : public testing::TestWithParam<std::string> {};

TEST_P(CalibrateEveryWeighting, GivesForTheUnionOfTwoSetsOfWindowsTheirMergedStatistics) {
  const Model model = PlantedModel(3);
  const Tensor windows = PlantedIds(3, 7, 10);
  const auto measure = [&](const Tensor& some, int64_t batch) {
    return Calibrate(model, some,
                     {.tokens = ParseTokenWeighting(GetParam()),
                      .products = true,
                      .attention = true,
                      .influence = true,
                      .batch = batch});
  };
  const Statistics whole = measure(windows, 4);
  Statistics merged = measure(windows.slice(0, 0, 3), 2);
  merged.Merge(measure(windows.slice(0, 3), 3));
  EXPECT_EQ(merged.sequences, 7);
  for (size_t l = 0; l < whole.blocks.size(); ++l)
    for (const Role role : {Role::kO, Role::kDown}) {
      const SiteStatistics &a = merged.blocks[l].At(role), &b = whole.blocks[l].At(role);
      EXPECT_EQ(a.counted.count, b.counted.count);
      EXPECT_EQ(a.left_out.count, b.left_out.count);
      EXPECT_LT(RelativeDifference(a.counted.mean, b.counted.mean), 1e-5);
      EXPECT_LT(RelativeDifference(a.counted.products, b.counted.products), 1e-5);
      EXPECT_LT(RelativeDifference(a.counted.max, b.counted.max), 1e-5);
      EXPECT_NEAR(a.counted.weight / b.counted.weight, 1, 1e-6);
    }
  for (size_t l = 0; l < whole.blocks.size(); ++l) {
    EXPECT_LT(RelativeDifference(merged.blocks[l].attention.at("sink_mass"), whole.blocks[l].attention.at("sink_mass")),
              1e-5);
    for (const auto& [kind, sums] : whole.blocks[l].influence)
      EXPECT_LT(RelativeDifference(merged.blocks[l].influence.at(kind), sums), 1e-4) << kind;
  }
}

INSTANTIATE_TEST_SUITE_P(Named, CalibrateEveryWeighting, testing::ValuesIn(TokenWeightingNames()),
                         [](const testing::TestParamInfo<std::string>& test) { return test.param; });

TEST(Calibrate, KeepsThePlantedSpikeOutOfTheOrdinaryTokens) {
  const Model model = PlantedModel(4);
  const Statistics statistics = Calibrate(model, PlantedIds(4, 3, 16), {});
  const SiteStatistics& site = statistics.blocks[Planted::kUpBlock].ffn_hidden;
  EXPECT_NEAR(site.left_out.max[Planted::kUpNeuron].item<double>(), 400, 0.1);
  EXPECT_EQ(site.counted.max[Planted::kUpNeuron].item<double>(), 0);
}

// The residual stream after the sublayer of `role`.
Site ResidualOf(Role role) {
  return role == Role::kO ? Site::kAttnResidual : Site::kBlockOutput;
}

TEST(Calibrate, CountsEveryTokenAsItsWeightingSays) {
  const Model model = PlantedModel(8);
  const Tensor windows = PlantedIds(8, 3, 8);
  for (const TokenWeighting tokens :
       {TokenWeighting::kAll, TokenWeighting::kNotFirst, TokenWeighting::kOrdinary, TokenWeighting::kInverseRms}) {
    const Statistics statistics = Calibrate(model, windows, {.tokens = tokens, .products = true, .batch = 2});
    EXPECT_EQ(statistics.tokens, tokens);
    for (int64_t l = 0; l < model.config.L(); ++l)
      for (const auto& [site, role] : {std::pair{Site::kHeadOut, Role::kO}, {Site::kFfnHidden, Role::kDown}}) {
        const Tensor x = ValueAt(model, windows, l, site).to(at::kDouble).flatten(0, 1);
        Tensor weight = at::ones({3, 8}, at::kDouble);
        // Nothing but the planted token, at position 0, is an outlier.
        if (tokens == TokenWeighting::kNotFirst || tokens == TokenWeighting::kOrdinary) weight.select(1, 0).zero_();
        if (tokens == TokenWeighting::kInverseRms)
          weight = 1 / (ValueAt(model, windows, l, ResidualOf(role)).to(at::kDouble).square().mean(-1) +
                        model.config.norm_epsilon);
        const Tensor w = weight.flatten(), mean = w.matmul(x) / w.sum(), centred = x - mean;
        const SiteStatistics& measured = statistics.blocks[static_cast<size_t>(l)].At(role);
        EXPECT_EQ(measured.counted.count + measured.left_out.count, 24);
        EXPECT_EQ(measured.left_out.count, w.eq(0).sum().item<int64_t>());
        EXPECT_LT(std::abs(measured.counted.weight / w.sum().item<double>() - 1), 1e-5);
        EXPECT_LT((measured.counted.mean - mean).abs().max().item<double>(), 1e-4);
        EXPECT_LT(RelativeDifference(measured.counted.products, centred.t().matmul(w.unsqueeze(1) * centred)), 1e-4);
      }
  }
}

TEST(Calibrate, GivesASpikeTokenNoWeightComparableToTheOthersWhenItCountsInverseToItsSize) {
  // The planted neuron writes 1000 into one of 16 channels: mean square 62,500 against about 1 of the others.
  const Model model = PlantedModel(9);
  const Tensor windows = PlantedIds(9, 4, 16);
  const Tensor residual = ValueAt(model, windows, Planted::kUpBlock, Site::kBlockOutput);
  const Tensor weights = TokenWeights(TokenWeighting::kInverseRms, at::zeros({4, 16}, at::kBool), residual, 1e-5);
  EXPECT_LT(weights.select(1, 0).max().item<double>(), 1e-3 * weights.narrow(1, 1, 15).min().item<double>());
  // Its input of 400 dominates the variance where it counts like the others, and no longer where it does not.
  const auto variance = [&](TokenWeighting tokens) {
    return Calibrate(model, windows, {.tokens = tokens})
        .blocks[Planted::kUpBlock]
        .ffn_hidden.counted.Variance()[Planted::kUpNeuron]
        .item<double>();
  };
  EXPECT_NEAR(variance(TokenWeighting::kAll), 400.0 * 400 * 15 / 256, 1);  // 1 in 16 is 400, the others 0
  EXPECT_LT(variance(TokenWeighting::kInverseRms), 1);
}

TEST(OutlierTokens, ArePositionZeroAndThoseAboveTheRatioBeforeOrAfterTheBlock) {
  // Largest |h| of each token before: 1 2 2 2 200, after: 1 128 2 2 2. The lower median of five is 2 both times, so the
  // limit is 64 * 2 = 128, which must be exceeded: 200 does, 128 does not.
  const Tensor before = at::tensor({1.f, 2.f, -2.f, 2.f, -200.f}).view({1, 5, 1}),
               after = at::tensor({1.f, 128.f, 2.f, 2.f, 2.f}).view({1, 5, 1});
  EXPECT_TRUE(at::equal(OutlierTokens(before, after, 64), at::tensor({1, 0, 0, 0, 1}).to(at::kBool).view({1, 5})));
  EXPECT_TRUE(at::equal(OutlierTokens(before, after, 63), at::tensor({1, 1, 0, 0, 1}).to(at::kBool).view({1, 5})));
}

TEST(OutlierTokens, OfAWindowDoNotDependOnTheOthers) {
  const Tensor quiet = at::tensor({1.f, 1.f, 1.f, 90.f}).view({1, 4, 1}), loud = at::full({1, 4, 1}, 100.f);
  const Tensor both = at::cat({quiet, loud, loud});
  EXPECT_TRUE(at::equal(OutlierTokens(both, both, 64)[0], OutlierTokens(quiet, quiet, 64)[0]));
  EXPECT_TRUE(OutlierTokens(both, both, 64)[0][3].item<bool>());
}

TEST(Calibrate, NamesBlockAndSiteOfAValueThatIsNotFinite) {
  const Tensor windows = RandomIds(5, 2, 6, TinyShape().V);
  const auto message = [&](int64_t block, Role role) {
    Model model = TinyModel(5);
    at::Tensor& weight = model.blocks[static_cast<size_t>(block)].At(role).weight;
    weight[0][0] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_THROW(Calibrate(model, windows, {}), NumericError);
    return MessageOf([&] { Calibrate(model, windows, {}); });
  };
  EXPECT_EQ(message(1, Role::kV),
            "block 1: head_out: a value is not finite; check the checkpoint, or use dtype float32");
  EXPECT_EQ(message(2, Role::kUp).substr(0, 20), "block 2: ffn_hidden:");
  EXPECT_EQ(message(2, Role::kDown).substr(0, 22), "block 2: block_output:");  // nothing after it would show it
}

TEST(Calibrate, TakesModelsWithRemovedSublayers) {
  const Model model = TinyModel(6, {.blocks = {{4, 2, 0}, {0, 0, 8}, {0, 0, 0}}});
  const Statistics statistics = Calibrate(model, RandomIds(6, 2, 6, model.config.V), {.products = true});
  EXPECT_EQ(statistics.blocks[0].head_out.counted.count, 10);
  EXPECT_EQ(statistics.blocks[0].ffn_hidden.counted.count, 0);
  EXPECT_EQ(statistics.blocks[1].head_out.counted.mean.numel(), 0);
  EXPECT_EQ(statistics.blocks[2].ffn_hidden.counted.mean.numel(), 0);
}

TEST(StreamBlocks, GivesTheBlockOutputsOfHiddenStates) {
  const Model model = TinyModel(7);
  const Tensor windows = RandomIds(7, 5, 11, model.config.V);
  std::vector<std::vector<Tensor>> outputs(model.blocks.size());
  std::vector<int64_t> firsts;
  StreamBlocks(model, windows, 2, {Site::kBlockOutput}, "test", [&](int64_t l, int64_t first, const BlockTaps& taps) {
    outputs[static_cast<size_t>(l)].push_back(taps.At(Site::kBlockOutput).clone());
    EXPECT_FALSE(taps.At(Site::kHeadOut).defined());  // was not asked for
    if (l == 0) firsts.push_back(first);
  });
  EXPECT_EQ(firsts, (std::vector<int64_t>{0, 2, 4}));
  for (int64_t l = 0; l < model.config.L(); ++l)
    EXPECT_LT(
        RelativeDifference(at::cat(outputs[static_cast<size_t>(l)]), ValueAt(model, windows, l, Site::kBlockOutput)),
        1e-5);
  EXPECT_LT(RelativeDifference(FinalNorm(model, at::cat(outputs.back())), HiddenStates(model, windows)), 1e-5);
}

}  // namespace
}  // namespace espalier
