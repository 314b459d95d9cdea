#include "espalier/prune/compensator.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "espalier/calibrate/calibrate.h"
#include "espalier/model/forward.h"
#include "espalier/plan/ledger.h"
#include "espalier/prune/cut.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

std::unique_ptr<Compensator> LeastSquares(double ridge) {
  return Registry<Compensator>::Create(
      "least_squares", Options(Registry<Compensator>::Find("least_squares").info.options, {{"ridge", ridge}}, "test"));
}

Tensor Normal(uint64_t seed, at::IntArrayRef shape) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::empty(shape, at::kDouble).normal_(0, 1, generator);
}

// Statistics of rows [N, n], every token ordinary.
SiteStatistics Of(const Tensor& rows) {
  SiteStatistics site{Moments::Empty(rows.size(1), true), Moments::Empty(rows.size(1), false)};
  site.counted.Add(rows, at::zeros({rows.size(0), 2}, at::kLong));
  return site;
}

Linear Weights(uint64_t seed, int64_t C, int64_t n, bool bias) {
  Linear linear;
  linear.weight = Normal(seed, {C, n}).to(at::kFloat);
  if (bias) linear.bias = Normal(seed + 1, {C}).to(at::kFloat);
  return linear;
}

Tensor Output(const Linear& dense, const Tensor& rows) {
  const Tensor y = rows.matmul(dense.weight.to(at::kDouble).t());
  return dense.bias.defined() ? y + dense.bias.to(at::kDouble) : y;
}

// Largest error of the repaired layer's output on `rows`.
double Error(const Linear& dense, const Repair& repair, const Tensor& rows, const std::vector<int64_t>& kept) {
  Tensor y = rows.index_select(1, at::tensor(kept, at::kLong)).matmul(repair.weight.t());
  if (repair.bias.defined()) y = y + repair.bias;
  return (y - Output(dense, rows)).abs().max().item<double>();
}

const std::vector<int64_t> kKept = {0, 2, 3, 5};  // of six inputs

TEST(NoCompensation, KeepsTheColumnsThatStayAsTheyAre) {
  const Linear dense = Weights(1, 3, 6, true);
  const Repair repair = Registry<Compensator>::Create("none")->Fit(dense, {}, kKept);
  EXPECT_TRUE(at::equal(repair.weight, dense.weight.index_select(1, at::tensor(kKept, at::kLong)).to(at::kDouble)));
  EXPECT_TRUE(at::equal(repair.bias, dense.bias.to(at::kDouble)));
  EXPECT_FALSE(Registry<Compensator>::Create("none")->AddsBias());
  EXPECT_FALSE(Registry<Compensator>::Create("none")->Fit(Weights(1, 3, 6, false), {}, kKept).bias.defined());
}

TEST(BiasCompensation, AddsTheMeanOutputOfWhatGoesByHand) {
  // W = (1 2 3; 4 5 6), means (10, 20, 30), input 1 goes: b = (2, 5) * 20.
  Linear dense;
  dense.weight = at::tensor({1.f, 2.f, 3.f, 4.f, 5.f, 6.f}).view({2, 3});
  SiteStatistics site{Moments::Empty(3, false), Moments::Empty(3, false)};
  site.counted.Add(at::tensor({5.0, 20.0, 29.0, 15.0, 20.0, 31.0}, at::kDouble).view({2, 3}),
                   at::zeros({2, 2}, at::kLong));
  const Repair repair = Registry<Compensator>::Create("bias")->Fit(dense, site, {0, 2});
  EXPECT_TRUE(at::allclose(repair.bias, at::tensor({40.0, 100.0}, at::kDouble)));
  dense.bias = at::tensor({1.f, -1.f});
  EXPECT_TRUE(at::allclose(Registry<Compensator>::Create("bias")->Fit(dense, site, {0, 2}).bias,
                           at::tensor({41.0, 99.0}, at::kDouble)));
}

TEST(BiasCompensation, IsExactForInputsThatAreConstant) {
  Tensor rows = Normal(2, {50, 6});
  rows.select(1, 1).fill_(3.5);
  rows.select(1, 4).fill_(-2);
  const Linear dense = Weights(3, 4, 6, false);
  EXPECT_LT(Error(dense, Registry<Compensator>::Create("bias")->Fit(dense, Of(rows), kKept), rows, kKept), 1e-12);
  EXPECT_GT(Error(dense, Registry<Compensator>::Create("none")->Fit(dense, Of(rows), kKept), rows, kKept), 1);
}

TEST(BiasCompensation, IsSpoiltByAFirstTokenThatCountsLikeTheOthers) {
  // A head that writes a constant at every position but the first, where it writes another one.
  Tensor rows = Normal(2, {50, 6});
  rows.select(1, 1).fill_(3.5);
  rows.select(1, 4).fill_(-2);
  const Tensor first = rows.narrow(0, 0, 5).clone();
  first.select(1, 1).fill_(-700);
  first.select(1, 4).fill_(900);
  SiteStatistics apart = Of(rows), together = Of(rows);
  apart.left_out.Add(first, at::zeros({5, 2}, at::kLong));
  together.counted.Add(first, at::zeros({5, 2}, at::kLong));
  const Linear dense = Weights(3, 4, 6, false);
  const auto compensator = Registry<Compensator>::Create("bias");
  EXPECT_LT(Error(dense, compensator->Fit(dense, apart, kKept), rows, kKept), 1e-12);
  EXPECT_GT(Error(dense, compensator->Fit(dense, together, kKept), rows, kKept), 10);
}

TEST(LeastSquares, RecoversTheOutputWhenWhatGoesIsALinearFunctionOfWhatStays) {
  // Inputs 1 and 4 are affine in the others. The co-moments are float32: 1e-5 of an output near 10.
  Tensor rows = Normal(4, {200, 6});
  rows.select(1, 1).copy_(2 * rows.select(1, 0) - rows.select(1, 5) + 3);
  rows.select(1, 4).copy_(0.5 * rows.select(1, 2) + rows.select(1, 3) - 7);
  for (const bool bias : {false, true}) {
    const Linear dense = Weights(5, 4, 6, bias);
    EXPECT_LT(Error(dense, LeastSquares(1e-9)->Fit(dense, Of(rows), kKept), rows, kKept), 1e-4);
    EXPECT_GT(Error(dense, Registry<Compensator>::Create("bias")->Fit(dense, Of(rows), kKept), rows, kKept), 1);
  }
}

TEST(LeastSquares, MatchesOrdinaryRegressionOnTheKeptInputs) {
  // Without a ridge the refit is the regression of W x on (x_K, 1): the normal equations, solved another way.
  const Tensor mixed = Normal(6, {300, 6}).matmul(Normal(7, {6, 6})) + 2;
  const Linear dense = Weights(8, 3, 6, false);
  const Repair repair = LeastSquares(0)->Fit(dense, Of(mixed), kKept);
  const Tensor design =
      at::cat({mixed.index_select(1, at::tensor(kKept, at::kLong)), at::ones({300, 1}, at::kDouble)}, 1);
  const Tensor solution = at::linalg_pinv(design).matmul(Output(dense, mixed));      // [kept + 1, C]
  EXPECT_LT(RelativeDifference(repair.weight, solution.narrow(0, 0, 4).t()), 1e-4);  // float32 co-moments
  EXPECT_LT(RelativeDifference(repair.bias, solution[4]), 1e-4);
}

TEST(LeastSquares, HasALowerErrorThanTheBiasOnCorrelatedInputs) {
  const Tensor rows = Normal(9, {300, 6}).matmul(Normal(10, {6, 6}) + 1) + 1;
  const Linear dense = Weights(11, 4, 6, false);
  const auto error = [&](const Repair& repair) {
    const Tensor y = rows.index_select(1, at::tensor(kKept, at::kLong)).matmul(repair.weight.t()) + repair.bias;
    return (y - Output(dense, rows)).square().mean().item<double>();
  };
  EXPECT_LT(error(LeastSquares(0.01)->Fit(dense, Of(rows), kKept)),
            0.5 * error(Registry<Compensator>::Create("bias")->Fit(dense, Of(rows), kKept)));
}

TEST(LeastSquares, WithALargeRidgeReturnsTheOriginalWeightsAndTheMeanOfWhatGoes) {
  const Tensor rows = Normal(12, {100, 6}) + 2;
  const Linear dense = Weights(13, 4, 6, false);
  const Repair pulled = LeastSquares(1e9)->Fit(dense, Of(rows), kKept),
               bias = Registry<Compensator>::Create("bias")->Fit(dense, Of(rows), kKept);
  EXPECT_LT(RelativeDifference(pulled.weight, bias.weight), 1e-8);
  EXPECT_LT(RelativeDifference(pulled.bias, bias.bias), 1e-8);
}

TEST(LeastSquares, LeavesTheMeanOutputWhereItWas) {
  const Tensor rows = Normal(14, {100, 6}) + 5;
  const Linear dense = Weights(15, 4, 6, true);
  const Repair repair = LeastSquares(0.1)->Fit(dense, Of(rows), kKept);
  const Tensor mean = rows.mean(0).index_select(0, at::tensor(kKept, at::kLong));
  EXPECT_LT(RelativeDifference(repair.weight.mv(mean) + repair.bias, Output(dense, rows).mean(0)),
            1e-6);  // means are of float32 deviations
}

TEST(LeastSquares, GivesNoLargeCoefficientToAnInputThatIsQuietExceptOnASpike) {
  // Input 0 follows the removed input 1 on a scale of 1e-3, so that the refit would multiply its weight by a thousand;
  // on a spike token it is 500 while input 1 is 0, and the output would be off by 500 * 1000.
  Tensor rows = Normal(21, {200, 3});
  rows.select(1, 0).copy_(1e-3 * rows.select(1, 1));
  Linear dense;
  dense.weight = at::tensor({0.f, 1.f, 1.f}).view({1, 3});
  SiteStatistics site = Of(rows);
  EXPECT_GT(LeastSquares(1e-9)->Fit(dense, site, {0, 2}).weight[0][0].item<double>(), 900);
  site.left_out.Add(at::tensor({500.f, 0.f, 0.f}).view({1, 3}), at::zeros({1, 2}, at::kLong));
  // D_0 = 500^2 / 200 = 1250 against S_01 = 1e-3: a coefficient below 1e-6, below 5e-4 on the spike.
  EXPECT_LT(std::abs(LeastSquares(1e-9)->Fit(dense, site, {0, 2}).weight[0][0].item<double>()), 2e-6);
}

TEST(LeastSquares, SaysThatACovarianceIsNotPositiveDefinite) {
  // Two kept inputs with a correlation above one: no data has it, rounding can.
  SiteStatistics site = Of(Normal(16, {100, 3}));
  site.counted.products = at::tensor({100.0, 101.0, 0.0, 101.0, 100.0, 0.0, 0.0, 0.0, 100.0}, at::kDouble).view({3, 3});
  const Linear dense = Weights(17, 2, 3, false);
  EXPECT_THROW(LeastSquares(0)->Fit(dense, site, {0, 1}), NumericError);
  EXPECT_EQ(MessageOf([&] {
              LeastSquares(0)->Fit(dense, site, {0, 1});
            }),
            "compensate least_squares: the covariance of 2 kept inputs is not positive definite at row 2; "
            "use more calibration tokens or a larger ridge than 0");
  EXPECT_NO_THROW(LeastSquares(0.1)->Fit(dense, site, {0, 1}));  // as the message says
}

TEST(LeastSquares, OfInputsWithoutVarianceKeepsTheWeightsAndRefitsTheConstant) {
  // Whatever the ridge: there is nothing to correlate, and the bias takes W_R times the constants.
  const Tensor rows = at::full({40, 6}, 2.0, at::kDouble);
  const Linear dense = Weights(9, 3, 6, false);
  for (const double ridge : {0.0, 0.01}) {
    const Repair repair = LeastSquares(ridge)->Fit(dense, Of(rows), kKept);
    EXPECT_TRUE(
        at::allclose(repair.weight, dense.weight.to(at::kDouble).index_select(1, at::tensor(kKept, at::kLong))));
    EXPECT_LT(Error(dense, repair, rows, kKept), 1e-12);
  }
}

TEST(LeastSquares, OfEqualInputsStaysFinite) {
  // Singular, not indefinite: an input that is a copy of another.
  Tensor rows = Normal(18, {100, 3});
  rows.select(1, 1).copy_(rows.select(1, 0));
  const Linear dense = Weights(19, 2, 3, false);
  const Repair repair = LeastSquares(1e-6)->Fit(dense, Of(rows), {0, 1});
  EXPECT_TRUE(repair.weight.isfinite().all().item<bool>());
}

// A plan of the tiny model that cuts both kinds in every block and all of some sublayers.
Plan Sample(const Model& model) {
  Plan plan = KeepAll(model);
  for (BlockPlan& block : plan.blocks) {
    std::erase(block.At(UnitKind::kKvGroup).kept, 0);
    std::erase_if(block.At(UnitKind::kFfnChannel).kept, [](int64_t channel) { return channel % 2 == 1; });
  }
  plan.blocks[1].At(UnitKind::kFfnChannel).kept.clear();
  return plan;
}

class EveryCompensator : public testing::TestWithParam<std::string> {};

TEST_P(EveryCompensator, LeavesAModelOfThePlannedSizesAndTheOriginalAlone) {
  const Model model = TinyModel(20), before = CopyModel(model, at::kFloat, at::kCPU);
  const auto compensator = Registry<Compensator>::Create(GetParam());
  const std::vector<std::string>& needs = Registry<Compensator>::Find(GetParam()).info.needs;
  const bool products = std::find(needs.begin(), needs.end(), "products") != needs.end();
  const Statistics statistics = Calibrate(model, RandomIds(20, 6, 16, model.config.V), {.products = products});
  const Plan plan = Sample(model);
  Model cut = Cut(model, plan);
  Compensate(model, plan, statistics, *compensator, cut);
  EXPECT_NO_THROW(CheckShapes(cut));
  EXPECT_TRUE(BitwiseEqual(model, before));
  EXPECT_EQ(cut.blocks[0].ffn.w_down.bias.defined(), compensator->AddsBias());
  EXPECT_EQ(cut.blocks[1].ffn.w_down.bias.defined(), compensator->AddsBias());  // a removed FFN leaves its constant
  EXPECT_FALSE(cut.blocks[1].ffn.w_down.weight.defined());
  EXPECT_EQ(cut.blocks[0].ffn.w_down.weight.scalar_type(), at::kFloat);
  EXPECT_TRUE(Logits(cut, RandomIds(21, 1, 8, model.config.V)).isfinite().all().item<bool>());
}

TEST_P(EveryCompensator, TouchesNothingWhereNothingWasCut) {
  const Model model = TinyModel(22);
  const auto compensator = Registry<Compensator>::Create(GetParam());
  const Statistics statistics = Calibrate(model, RandomIds(22, 2, 16, model.config.V), {.products = true});
  const Plan plan = KeepAll(model);
  Model cut = Cut(model, plan);
  Compensate(model, plan, statistics, *compensator, cut);
  EXPECT_TRUE(BitwiseEqual(cut, model));
}

TEST_P(EveryCompensator, RefitsAConsumerWhicheverKindsTookItsColumns) {
  // Block 0: value channels and a head go, block 1: its attention, block 2: only rotary pairs, which feed no consumer.
  const Model model = TinyModel(25);
  Plan plan = KeepAll(model, {UnitKind::kQueryHead, UnitKind::kValueChannel, UnitKind::kQkPair, UnitKind::kAttention,
                              UnitKind::kResidualChannel});
  std::erase(plan.blocks[0].At(UnitKind::kQueryHead).kept, 3);
  std::erase(plan.blocks[0].At(UnitKind::kValueChannel).kept, 1);
  plan.blocks[1].At(UnitKind::kAttention).kept.clear();
  std::erase(plan.blocks[2].At(UnitKind::kQkPair).kept, 0);
  std::erase(plan.residual_channels->kept, 5);
  const auto compensator = Registry<Compensator>::Create(GetParam());
  const Statistics statistics = Calibrate(model, RandomIds(25, 6, 16, model.config.V), {.products = true});
  const Model plain = Cut(model, plan);
  Model cut = plain;
  Compensate(model, plan, statistics, *compensator, cut);
  const bool adds = compensator->AddsBias();
  EXPECT_EQ(cut.blocks[0].attention.w_o.bias.defined(), adds);
  EXPECT_EQ(cut.blocks[1].attention.w_o.bias.defined(), adds);
  EXPECT_FALSE(cut.blocks[2].attention.w_o.bias.defined());
  EXPECT_TRUE(at::equal(cut.blocks[2].attention.w_o.weight, plain.blocks[2].attention.w_o.weight));
  // What was fitted for 16 outputs, and the 15 that are left of it.
  const std::vector<int64_t> kept = KeptColumns(model, plan, 0, Role::kO);
  EXPECT_EQ(kept.size(), 16u - 4 - 2);  // head 3, and value channel 1 of heads 0 and 1
  const Repair repair = compensator->Fit(model.blocks[0].attention.w_o, statistics.blocks[0].head_out, kept);
  const Tensor outputs = at::tensor(plan.residual_channels->kept, at::kLong);
  EXPECT_TRUE(at::equal(cut.blocks[0].attention.w_o.weight, repair.weight.index_select(0, outputs).to(at::kFloat)));
  EXPECT_TRUE(Logits(cut, RandomIds(26, 1, 8, model.config.V)).isfinite().all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryCompensator, testing::ValuesIn(Registry<Compensator>::Names()),
                         [](const testing::TestParamInfo<std::string>& test) { return test.param; });

TEST(Compensate, BringsTheOutputOfACutBlockCloserToTheDenseOne) {
  const Model model = TinyModel(23, EvenShape(1));
  const Tensor windows = RandomIds(23, 32, 32, model.config.V);
  const Statistics statistics = Calibrate(model, windows, {.products = true});
  Plan plan = KeepAll(model);
  std::erase_if(plan.blocks[0].At(UnitKind::kFfnChannel).kept, [](int64_t channel) { return channel % 2 == 1; });
  // On ordinary tokens, as the fit saw them; one block, so that no change of inputs interferes.
  const auto error = [&](const std::string& name) {
    Model cut = Cut(model, plan);
    Compensate(model, plan, statistics, *Registry<Compensator>::Create(name), cut);
    const Rope rope = MakeRope(model.config, 32, at::kCPU, at::kFloat);
    const Tensor h = Embed(model, windows);
    return (RunBlock(cut, 0, h, rope) - RunBlock(model, 0, h, rope)).narrow(1, 1, 31).square().mean().item<double>();
  };
  const double none = error("none"), bias = error("bias"), least_squares = error("least_squares");
  EXPECT_LT(bias, none);
  EXPECT_LT(least_squares, 0.9 * bias);
}

TEST(Compensate, NamesTheBlockAndTheLayerWhoseRefitFails) {
  const Model model = TinyModel(24);
  Statistics statistics = Calibrate(model, RandomIds(24, 4, 16, model.config.V), {.products = true});
  Tensor& products = statistics.blocks[2].ffn_hidden.counted.products;
  products = -products;
  const Plan plan = Sample(model);
  const auto message = [&](const Statistics& with) {
    return MessageOf([&] {
      Model cut = Cut(model, plan);
      Compensate(model, plan, with, *LeastSquares(0.01), cut);
    });
  };
  EXPECT_EQ(message(statistics).substr(0, 61), "block 2: w_down: compensate least_squares: the covariance of ")
      << message(statistics);

  statistics.blocks[0].head_out.counted.mean[3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(message(statistics), "compensate: block 0: w_o is not finite after the refit");
}

TEST(Compensate, RefusesStatisticsOfAnotherModel) {
  const Model model = TinyModel(25);
  const Statistics other =
      Calibrate(TinyModel(25, EvenShape()), RandomIds(25, 4, 16, model.config.V), {.products = true});
  Plan plan = Sample(model);
  Model cut = Cut(model, plan);
  EXPECT_EQ(MessageOf([&] { Compensate(model, plan, other, *LeastSquares(0.01), cut); }),
            "block 1: statistics of 16 inputs of w_o, the model has 24; calibrate this model again");
}

}  // namespace
}  // namespace espalier
