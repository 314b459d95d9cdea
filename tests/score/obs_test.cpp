#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <limits>

#include "espalier/calibrate/calibrate.h"
#include "espalier/calibrate/input_system.h"
#include "espalier/score/removal.h"
#include "score/by_hand.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;
using Columns = std::vector<std::vector<int64_t>>;

Tensor Normal(uint64_t seed, at::IntArrayRef shape) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::empty(shape, at::kDouble).normal_(0, 1, generator);
}

Tensor PositiveDefinite(uint64_t seed, int64_t n) {
  const Tensor a = Normal(seed, {n, 2 * n});
  return a.matmul(a.t()) / static_cast<double>(n) + 0.1 * at::eye(n, at::kDouble);
}

// tr(G dW H dW^T) at its minimum over the columns that stay, when the columns `gone` of W become zero: the normal
// equations dW_K H_KK = W_R H_RK, solved directly.
double RefitCost(const Tensor& w, const Tensor& h, const Tensor& g, const std::vector<int64_t>& gone) {
  std::vector<int64_t> stay;
  for (int64_t j = 0; j < w.size(1); ++j)
    if (std::find(gone.begin(), gone.end(), j) == gone.end()) stay.push_back(j);
  const Tensor r = at::tensor(gone, at::kLong), k = at::tensor(stay, at::kLong);
  Tensor change = at::zeros_like(w);
  change.index_copy_(1, r, -w.index_select(1, r));
  if (!stay.empty()) {
    const Tensor right = w.index_select(1, r).matmul(h.index_select(0, r).index_select(1, k));
    const Tensor system = h.index_select(0, k).index_select(1, k);
    change.index_copy_(1, k, at::linalg_solve(system, right.t()).t());
  }
  return g.matmul(change).matmul(h).mul(change).sum().item<double>();
}

struct Problem {
  Tensor w, h, g;
  RemovalSystem System() const { return {at::linalg_inv(h), w.t().matmul(g).matmul(w)}; }
};
Problem Random(uint64_t seed, int64_t m, int64_t n) {
  return {Normal(seed, {m, n}), PositiveDefinite(seed + 1, n), PositiveDefinite(seed + 2, m)};
}

// The cheapest next unit by refitting for every choice; marginal costs accumulate to the cost of all that went.
Tensor BruteForceGreedy(const Problem& problem, const Columns& columns, const Tensor& factors) {
  Tensor score = at::zeros({static_cast<int64_t>(columns.size())}, at::kDouble);
  std::vector<int64_t> gone;
  std::vector<bool> went(columns.size());
  double before = 0, dearest = 0;  // costs as they are; a factor counts only for the unit whose turn it is
  for (size_t step = 0; step < columns.size(); ++step) {
    size_t best = 0;
    double least = std::numeric_limits<double>::infinity(), after = 0;
    for (size_t unit = 0; unit < columns.size(); ++unit) {
      if (went[unit]) continue;
      std::vector<int64_t> with = gone;
      with.insert(with.end(), columns[unit].begin(), columns[unit].end());
      const double whole = RefitCost(problem.w, problem.h, problem.g, with);
      const double cost = (whole - before) * factors[static_cast<int64_t>(unit)].item<double>();
      if (cost < least) least = cost, best = unit, after = whole;
    }
    dearest = std::max(dearest, least);
    before = after;
    went[best] = true;
    score[static_cast<int64_t>(best)] = dearest;
    gone.insert(gone.end(), columns[best].begin(), columns[best].end());
  }
  return score;
}

Columns Singles(int64_t n) {
  Columns columns;
  for (int64_t j = 0; j < n; ++j) columns.push_back({j});
  return columns;
}

const Columns kUneven = {{0, 3}, {1}, {2, 4, 5}, {6, 7}};

TEST(RemovalCosts, MatchAnExampleWorkedByHand) {
  // H = (2 1; 1 2): H^-1 = (2 -1; -1 2) / 3, [H^-1]_jj = 2/3. W = (1 3), G = 2: P_jj = 2 and 18, costs 3 and 27.
  // Directly, removing column 0: dW = (-1, 1/2), H dW^T = (-3/2, 0), 2 * 3/2 = 3.
  // Then W = (0, 3 + 1/2): 2 * 3.5^2 * 2 = 49.
  const Problem problem{at::tensor({1.0, 3.0}, at::kDouble).view({1, 2}),
                        at::tensor({2.0, 1.0, 1.0, 2.0}, at::kDouble).view({2, 2}), at::full({1, 1}, 2.0, at::kDouble)};
  EXPECT_TRUE(at::allclose(RemovalCosts(problem.System(), Singles(2)), at::tensor({3.0, 27.0}, at::kDouble)));
  EXPECT_TRUE(at::allclose(GreedyRemovalCosts(problem.System(), Singles(2)), at::tensor({3.0, 49.0}, at::kDouble)));
}

TEST(RemovalCosts, EqualTheErrorOfARefitForEveryUnit) {
  const Problem problem = Random(1, 5, 8);
  for (const Columns& columns : {Singles(8), kUneven}) {
    const Tensor costs = RemovalCosts(problem.System(), columns);
    for (size_t unit = 0; unit < columns.size(); ++unit)
      EXPECT_NEAR(
          costs[static_cast<int64_t>(unit)].item<double>() / RefitCost(problem.w, problem.h, problem.g, columns[unit]),
          1, 1e-9);
  }
}

TEST(GreedyRemoval, FollowsTheOrderAndCostsOfBruteForce) {
  for (const uint64_t seed : {10, 20, 30})
    for (const Columns& columns : {Singles(8), kUneven}) {
      const Problem problem = Random(seed, 5, 8);
      const auto units = static_cast<int64_t>(columns.size());
      const Tensor ones = at::ones({units}, at::kDouble), factors = Normal(seed + 3, {units}).abs() + 0.5;
      EXPECT_TRUE(
          at::allclose(GreedyRemovalCosts(problem.System(), columns), BruteForceGreedy(problem, columns, ones), 1e-7));
      EXPECT_TRUE(at::allclose(GreedyRemovalCosts(problem.System(), columns, factors),
                               BruteForceGreedy(problem, columns, factors), 1e-7));
    }
}

TEST(GreedyRemoval, CountsFactorsByUnitWhenUnitsAreNotInTheOrderOfTheirColumns) {
  const Problem problem = Random(70, 5, 8);
  const Columns columns = {{5}, {2}, {7}, {0}};  // and four columns that no unit owns
  const Tensor factors = at::tensor({1.0, 3.0, 0.5, 2.0}, at::kDouble);
  EXPECT_TRUE(at::allclose(GreedyRemovalCosts(problem.System(), columns, factors),
                           BruteForceGreedy(problem, columns, factors), 1e-7));
  EXPECT_TRUE(at::allclose(RemovalCosts(problem.System(), columns, factors),
                           RemovalCosts(problem.System(), columns) * factors));
}

TEST(GreedyRemoval, IsTheSameOverSeveralPanelsAsGroupByGroup) {
  // 150 columns: three panels of lazily applied downdates. A last group of two columns takes the other path, and costs
  // most by far, so that it goes last.
  Problem problem = Random(40, 20, 150);
  problem.w.slice(1, 148) *= 1e4;
  Columns columns = Singles(148);
  columns.push_back({148, 149});
  const Tensor groups = GreedyRemovalCosts(problem.System(), columns);
  const Tensor singles = GreedyRemovalCosts(problem.System(), Singles(150));
  EXPECT_TRUE(at::allclose(groups.slice(0, 0, 148), singles.slice(0, 0, 148), 1e-6));
}

TEST(GreedyRemoval, LetsOnlyOneOfTwoTwinsGoForFree) {
  // Inputs 0 and 1 are almost the same: either is free, both are not. Without greed both look free.
  const Tensor x = Normal(50, {400, 5});
  x.select(1, 1).copy_(x.select(1, 0) + 1e-3 * x.select(1, 1));
  const Tensor h = x.t().matmul(x) / 400;
  const Problem problem{at::eye(5, at::kDouble), h, at::eye(5, at::kDouble)};
  const Tensor alone = RemovalCosts(problem.System(), Singles(5));
  EXPECT_LT(alone.slice(0, 0, 2).max().item<double>(), 1e-5);
  const Tensor greedy = GreedyRemovalCosts(problem.System(), Singles(5));
  EXPECT_LT(greedy.slice(0, 0, 2).min().item<double>(), 1e-5);
  EXPECT_GT(greedy.slice(0, 0, 2).max().item<double>(), 0.5);
}

Tensor ObsScore(const Model& model, const Statistics& statistics, int64_t block, UnitKind kind,
                std::map<std::string, OptionValue> options) {
  const auto& entry = Registry<Scorer>::Find("obs");
  const auto scorer = entry.make(Options(entry.info.options, std::move(options), "test"));
  return CheckedScore(*scorer, "obs", {model, block, kind, &statistics}).squeeze(1);
}

// The second-order cost alone.
std::map<std::string, OptionValue> Plain(const char* metric, bool greedy) {
  return {{"metric", std::string(metric)}, {"greedy", greedy}, {"tail", 0.0}, {"coupling", false}, {"growth", 0.0}};
}

Statistics Calibrated(const Model& model) {
  return Calibrate(model, RandomIds(61, 8, 16, model.config.V),
                   {.products = true, .gradients = true, .gradient_products = true, .gradient_tokens = 128});
}

TEST(Obs, IsTheErrorOfARefitUnderEitherMetricForEveryKind) {
  const Model model = TinyModel(60);
  const Statistics statistics = Calibrated(model);
  const BlockStatistics& block = statistics.blocks[1];
  for (const UnitKind kind :
       {UnitKind::kKvGroup, UnitKind::kQueryHead, UnitKind::kValueChannel, UnitKind::kFfnChannel, UnitKind::kFfn}) {
    const UnitSpace space(model, 1, kind);
    const Tensor w = model.blocks[1].At(space.consumer()).weight.to(at::kDouble);
    const Tensor h = InputSystem(block.At(space.consumer()), 0.01);
    const Tensor g = block.gradient_products.find(RoleName(space.consumer()))->second.to(at::kDouble) / 128;
    for (const bool gradient : {true, false}) {
      const Tensor score = ObsScore(model, statistics, 1, kind, Plain(gradient ? "gradient" : "identity", false));
      for (int64_t unit = 0; unit < space.size(); ++unit) {
        const double expected = RefitCost(w, h, gradient ? g : at::eye(16, at::kDouble), space.ConsumerColumns(unit));
        EXPECT_NEAR(score[unit].item<double>() / expected, 1, 1e-6) << UnitKindName(kind) << " " << unit;
      }
    }
  }
  EXPECT_TRUE(at::allclose(ObsScore(model, statistics, 1, UnitKind::kBlock, Plain("gradient", false)),
                           ObsScore(model, statistics, 1, UnitKind::kAttention, Plain("gradient", false)) +
                               ObsScore(model, statistics, 1, UnitKind::kFfn, Plain("gradient", false))));
}

TEST(Obs, TailAddsToTheDiagonalOfTheInputs) {
  const Model model = TinyModel(60);
  const Statistics statistics = Calibrated(model);
  auto options = Plain("gradient", false);
  options["tail"] = 0.3;
  const UnitSpace space(model, 1, UnitKind::kFfnChannel);
  const Tensor w = model.blocks[1].ffn.w_down.weight.to(at::kDouble);
  const Tensor h = InputSystem(statistics.blocks[1].ffn_hidden, 0.01, 0.3);
  const Tensor g = statistics.blocks[1].gradient_products.at("w_down").to(at::kDouble) / 128;
  const Tensor score = ObsScore(model, statistics, 1, UnitKind::kFfnChannel, options);
  for (int64_t unit = 0; unit < space.size(); ++unit)
    EXPECT_NEAR(score[unit].item<double>() / RefitCost(w, h, g, {unit}), 1, 1e-6);
}

TEST(Obs, CouplingRaisesCostsByTheLossMassThatTheTwoFactorsMiss) {
  const Model model = TinyModel(60);
  const Statistics statistics = Calibrated(model);
  const BlockStatistics& block = statistics.blocks[1];
  const Tensor plain = ObsScore(model, statistics, 1, UnitKind::kFfnChannel, Plain("gradient", false));
  auto options = Plain("gradient", false);
  options["coupling"] = true;
  const Tensor quotient = ObsScore(model, statistics, 1, UnitKind::kFfnChannel, options) / plain;
  // By hand: E[(x dL/dx)^2] over E[x^2] w^T G w, over its median; not below 1, at most 10.
  const Moments& moments = block.ffn_hidden.counted;
  const Tensor second = (moments.squares + moments.mean.square() * moments.weight) / moments.weight;
  const Tensor w = model.blocks[1].ffn.w_down.weight.to(at::kDouble);
  const Tensor g = block.gradient_products.at("w_down").to(at::kDouble);
  Tensor expected = block.loss_mass.at("ffn_channel") / (second * w.t().matmul(g).mul(w.t()).sum(1));
  expected = (expected / expected.median()).clamp(1, 10);
  EXPECT_TRUE(at::allclose(quotient, expected, 1e-5)) << quotient << expected;
  EXPECT_GT(quotient.max().item<double>(), 1.01);
  EXPECT_EQ(quotient.min().item<double>(), 1);
}

TEST(Obs, CouplingOfTheOthersIsCountedBesideADeadChannel) {
  Model model = TinyModel(60);
  model.blocks[1].ffn.w_up.weight[3].zero_();  // no input, no loss mass: 0 / 0
  const Statistics statistics = Calibrated(model);
  auto options = Plain("gradient", false);
  const Tensor plain = ObsScore(model, statistics, 1, UnitKind::kFfnChannel, options);
  options["coupling"] = true;
  const Tensor coupled = ObsScore(model, statistics, 1, UnitKind::kFfnChannel, options);
  EXPECT_TRUE(coupled.isfinite().all().item<bool>());
  EXPECT_EQ(coupled[3].item<double>(), plain[3].item<double>());
  EXPECT_GT((coupled > plain * 1.01).sum().item<int64_t>(), 0);
}

TEST(Obs, GrowthMakesTheLastUnitsDearerAndKeepsTheOrder) {
  const Model model = TinyModel(60);
  const Statistics statistics = Calibrated(model);
  const Tensor plain = ObsScore(model, statistics, 1, UnitKind::kFfnChannel, Plain("gradient", true));
  auto options = Plain("gradient", true);
  options["growth"] = 2.0;
  const Tensor grown = ObsScore(model, statistics, 1, UnitKind::kFfnChannel, options);
  const Tensor order = std::get<1>(plain.sort(/*stable=*/true, 0, /*descending=*/false));
  const auto n = plain.size(0);
  for (int64_t rank = 0; rank < n; ++rank) {
    const int64_t unit = order[rank].item<int64_t>();
    const double factor = 1 + 2.0 * static_cast<double>(rank) / static_cast<double>(n);
    EXPECT_NEAR(grown[unit].item<double>() / plain[unit].item<double>(), factor, 1e-12) << rank;
  }
}

TEST(Obs, SaysThatACovarianceIsNotPositiveDefinite) {
  const Model model = ModelByHand();
  Statistics statistics = StatisticsByHand();
  statistics.gradient_tokens = 3;
  BlockStatistics& block = statistics.blocks[0];
  block.ffn_hidden.counted.products = at::tensor({1.0, 100.0, 100.0, 1.0}, at::kDouble).view({2, 2});
  block.gradient_products["w_down"] = at::eye(2, at::kDouble);
  EXPECT_EQ(MessageOf([&] { ObsScore(model, statistics, 0, UnitKind::kFfnChannel, Plain("gradient", true)); }),
            "score obs: block 0: the covariance of 2 inputs of w_down is not positive definite at row 2; use more "
            "calibration tokens or a larger ridge than 0.01");
}

}  // namespace
}  // namespace espalier
