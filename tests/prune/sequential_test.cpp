#include "espalier/prune/sequential.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/model/forward.h"
#include "espalier/plan/ledger.h"
#include "espalier/prune/cut.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

std::unique_ptr<Compensator> Refit(const std::map<std::string, OptionValue>& options) {
  return Registry<Compensator>::Create(
      "least_squares", Options(Registry<Compensator>::Find("least_squares").info.options, options, "test"));
}
std::unique_ptr<Compensator> Pruned(double feedback = 0, double ridge = 1e-6, double held_out = 0) {
  return Refit({{"inputs", std::string("pruned")}, {"ridge", ridge}, {"feedback", feedback}, {"held_out", held_out}});
}

SequentialData Data(const Model& model, uint64_t seed = 1) {
  return {.windows = RandomIds(seed, 24, 16, model.config.V), .tokens = TokenWeighting::kAll, .batch = 5};
}

void RemoveOddChannels(Plan& plan, size_t block) {
  std::erase_if(plan.blocks[block].At(UnitKind::kFfnChannel).kept, [](int64_t channel) { return channel % 2 == 1; });
}

Model Sequential(const Model& model, const Plan& plan, const SequentialData& data, const Compensator& compensator) {
  Model cut = Cut(model, plan);
  CompensateSequentially(model, plan, data, compensator, cut);
  return cut;
}

Model OneShot(const Model& model, const Plan& plan, const SequentialData& data, double ridge) {
  Model cut = Cut(model, plan);
  Compensate(model, plan, Calibrate(model, data.windows, {.tokens = data.tokens, .products = true}),
             *Refit({{"ridge", ridge}}), cut);
  return cut;
}

// Residual stream after block `l`, [S, T, C].
Tensor Stream(const Model& model, int64_t l, const Tensor& ids) {
  const at::NoGradGuard no_grad;
  const Rope rope = MakeRope(model.config, ids.size(1), model.device(), model.dtype());
  Tensor h = Embed(model, ids);
  for (int64_t block = 0; block <= l; ++block) h = RunBlock(model, block, h, rope);
  return h;
}

double MeanSquare(const Tensor& a, const Tensor& b) {
  return (a - b).to(at::kDouble).square().mean().item<double>();
}

TEST(Sequential, EqualsTheOneShotRefitWhereNothingBeforeWasCut) {
  const Model model = TinyModel(1);
  Plan plan = KeepAll(model);
  RemoveOddChannels(plan, 1);
  const SequentialData data = Data(model);
  const Model a = Sequential(model, plan, data, *Pruned()), b = OneShot(model, plan, data, 1e-6);
  EXPECT_LT(RelativeDifference(a.blocks[1].ffn.w_down.weight, b.blocks[1].ffn.w_down.weight), 1e-4);
  EXPECT_LT(RelativeDifference(a.blocks[1].ffn.w_down.bias, b.blocks[1].ffn.w_down.bias), 1e-4);
}

TEST(Sequential, RefitsOnTheInputsThatComeThroughThePrunedBlocksBefore) {
  // Brute force for block 2: the dense FFN's inputs and outputs on the pruned path, by ordinary regression.
  const at::NoGradGuard no_grad;
  const Model model = TinyModel(2);
  Plan plan = KeepAll(model);
  for (size_t block = 0; block < 3; ++block) RemoveOddChannels(plan, block);
  const SequentialData data = Data(model, 2);
  const Model cut = Sequential(model, plan, data, *Pruned(0, 1e-9));
  const Rope rope = MakeRope(model.config, 16, model.device(), model.dtype());
  const Tensor h = RunAttention(model, 2, Stream(cut, 1, data.windows), rope);
  BlockTaps taps({Site::kFfnHidden});
  const Tensor y = (RunFeedForward(model, 2, h, &taps) - h).flatten(0, 1).to(at::kDouble);
  const Tensor x = taps.At(Site::kFfnHidden).flatten(0, 1).to(at::kDouble);
  const Tensor kept = at::tensor(plan.blocks[2].At(UnitKind::kFfnChannel).kept, at::kLong);
  const Tensor design = at::cat({x.index_select(1, kept), at::ones({x.size(0), 1}, at::kDouble)}, 1);
  const Tensor solution = at::linalg_pinv(design).matmul(y);
  EXPECT_LT(RelativeDifference(cut.blocks[2].ffn.w_down.weight, solution.narrow(0, 0, kept.numel()).t()), 1e-3);
  EXPECT_LT(RelativeDifference(cut.blocks[2].ffn.w_down.bias, solution[kept.numel()]), 1e-3);
}

TEST(Sequential, WithFeedbackComesNearerToTheDenseStream) {
  const Model model = TinyModel(3);
  Plan plan = KeepAll(model);
  for (size_t block = 0; block < 3; ++block) RemoveOddChannels(plan, block);
  const SequentialData data = Data(model, 3);
  const Tensor dense = Stream(model, 2, data.windows);
  const double without = MeanSquare(Stream(Sequential(model, plan, data, *Pruned(0)), 2, data.windows), dense);
  const double with = MeanSquare(Stream(Sequential(model, plan, data, *Pruned(1)), 2, data.windows), dense);
  EXPECT_LT(with, 0.97 * without);
}

TEST(Sequential, FoldsARemovedSublayerIntoTheOneBeforeIt) {
  const Model model = TinyModel(4);
  Plan plan = KeepAll(model, {UnitKind::kAttention});
  plan.blocks[1].At(UnitKind::kAttention).kept.clear();
  const SequentialData data = Data(model, 4);
  const Model folded = Sequential(model, plan, data, *Pruned()), constant = OneShot(model, plan, data, 1e-6);
  const Tensor dense = Stream(model, 1, data.windows);
  EXPECT_LT(MeanSquare(Stream(folded, 1, data.windows), dense),
            0.9 * MeanSquare(Stream(constant, 1, data.windows), dense));
  EXPECT_EQ(CountParameters(folded), CountParameters(constant));  // the plan's account holds
  EXPECT_FALSE(folded.blocks[0].ffn.w_down.bias.defined());       // it lost nothing, so it gains nothing
}

TEST(Sequential, LeavesTheConstantWhereNothingComesBeforeWhatIsGone) {
  const Model model = TinyModel(5);
  Plan plan = KeepAll(model, {UnitKind::kAttention});
  plan.blocks[0].At(UnitKind::kAttention).kept.clear();
  const SequentialData data = Data(model, 5);
  EXPECT_LT(RelativeDifference(Sequential(model, plan, data, *Pruned()).blocks[0].attention.w_o.bias,
                               OneShot(model, plan, data, 1e-6).blocks[0].attention.w_o.bias),
            1e-4);
}

TEST(Sequential, LeavesTheConstantWhereWhatComesBeforeWasEmptyAlready) {
  Model model = TinyModel(6);
  Plan before = KeepAll(model, {UnitKind::kFfn});
  before.blocks[0].At(UnitKind::kFfn).kept.clear();
  model = Cut(model, before);
  Plan plan = KeepAll(model, {UnitKind::kAttention});
  plan.blocks[1].At(UnitKind::kAttention).kept.clear();
  const SequentialData data = Data(model, 6);
  const Tensor constant = Sequential(model, plan, data, *Pruned()).blocks[1].attention.w_o.bias;
  ASSERT_TRUE(constant.defined());
  EXPECT_GT(constant.abs().max().item<double>(), 0);
  EXPECT_LT(RelativeDifference(constant, OneShot(model, plan, data, 1e-6).blocks[1].attention.w_o.bias), 1e-4);
}

TEST(Sequential, RefitsEveryFamilyAndLeavesThePlannedSizes) {
  for (const auto& [name, shape] : FamilyShapes()) {
    SCOPED_TRACE(name);
    const Model model = TinyModel(6, shape);
    Plan plan = KeepAll(model, {UnitKind::kAttention, UnitKind::kFfn});
    RemoveOddChannels(plan, 0);
    plan.blocks[1].At(UnitKind::kFfn).kept.clear();
    plan.blocks[2].At(UnitKind::kAttention).kept.clear();
    const SequentialData data = Data(model, 6);
    EXPECT_EQ(CountParameters(Sequential(model, plan, data, *Pruned())),
              CountParameters(OneShot(model, plan, data, 1e-6)));
    if (model.config.norm_placement != NormPlacement::kPre) {
      EXPECT_THROW(Sequential(model, plan, data, *Pruned(0.5)), RecipeError);
    }
  }
}

TEST(Sequential, RefusesACutOfTheResidualStream) {
  const Model model = TinyModel(7);
  Plan plan = KeepAll(model, {UnitKind::kResidualChannel});
  std::erase(plan.residual_channels->kept, 3);
  EXPECT_THROW(Sequential(model, plan, Data(model), *Pruned()), RecipeError);
}

TEST(LeastSquares, ChoosesTheRidgeByHeldOutSequences) {
  // Twelve inputs on sixteen rows: without a ridge the fit follows the noise of the target's shift.
  const auto moments = [](const Tensor& x) {
    SiteStatistics site{Moments::Empty(x.size(1), true), Moments::Empty(x.size(1), false)};
    site.counted.Add(x, at::zeros({x.size(0), 2}, at::kLong));
    return site;
  };
  const auto data = [&](const Tensor& x, const Tensor& e) {
    RefitData refit(moments(x));
    const Tensor centred = x - x.mean(0);
    refit.shift = TargetShift{e.mean(0), centred.t().matmul(e - e.mean(0))};
    return refit;
  };
  at::manual_seed(8);
  const auto normal = [](at::IntArrayRef shape) { return at::randn(shape, at::kDouble); };
  const Tensor x = normal({16, 12}), held = normal({400, 12}), noise = normal({16, 3}) * 5;
  Linear dense;
  dense.weight = normal({3, 12}).to(at::kFloat);
  std::vector<int64_t> all(12);
  for (int64_t i = 0; i < 12; ++i) all[static_cast<size_t>(i)] = i;
  RefitData fit = data(x, noise);
  // The truth has no shift, so the strongest pull to the original weights is best, and the chosen fit is that one.
  fit.held_out = std::make_shared<RefitData>(data(held, at::zeros({400, 3}, at::kDouble)));
  const Repair chosen = Pruned(0, 1e-6, 0.2)->Fit(dense, fit, all);
  fit.held_out = nullptr;
  const Repair strongest = Pruned(0, 1)->Fit(dense, fit, all), none = Pruned(0, 1e-9)->Fit(dense, fit, all);
  EXPECT_LT(RelativeDifference(chosen.weight, strongest.weight), 1e-12);
  EXPECT_GT(RelativeDifference(none.weight, strongest.weight), 0.1);
}

}  // namespace
}  // namespace espalier
