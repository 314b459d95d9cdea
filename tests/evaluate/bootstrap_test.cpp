#include "espalier/evaluate/bootstrap.h"

#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "espalier/core/random.h"
#include "support/support.h"

namespace espalier {
namespace {

// x_t = phi x_{t-1} + e_t with standard normal e_t (Box-Muller), started in its stationary distribution; mean 0.
std::vector<float> Autoregressive(size_t count, double phi, uint64_t stream) {
  std::vector<float> values(count);
  double x = 0;
  for (size_t t = 0; t < count; ++t) {
    const double radius = std::sqrt(-2 * std::log(1 - RandomUnit(7, stream, 2 * t)));
    const double normal = radius * std::cos(2 * std::numbers::pi * RandomUnit(7, stream, 2 * t + 1));
    x = t == 0 ? normal / std::sqrt(1 - phi * phi) : phi * x + normal;
    values[t] = static_cast<float>(x);
  }
  return values;
}

// Share of `trials` series whose interval holds the true mean 0.
double Coverage(const BootstrapOptions& options, int trials, size_t count = 2048, double phi = 0.6) {
  int covered = 0;
  for (int trial = 0; trial < trials; ++trial) {
    const Interval interval = BootstrapMean(Autoregressive(count, phi, static_cast<uint64_t>(trial)), options);
    if (interval.low <= 0 && 0 <= interval.high) ++covered;
  }
  return covered / static_cast<double>(trials);
}

TEST(Bootstrap, OfAConstantIsThatConstant) {
  const Interval interval = BootstrapMean(std::vector<float>(1000, 2.5f));
  EXPECT_EQ(interval.mean, 2.5);
  EXPECT_EQ(interval.low, 2.5);
  EXPECT_EQ(interval.high, 2.5);
  EXPECT_EQ(BootstrapExpMean(std::vector<float>(1000, 2.5f)).high, std::exp(2.5));
}

TEST(Bootstrap, OfPeriodicValuesWithBlocksOfThePeriodHasNoWidth) {
  // Any 4 neighbours of 0, 1, 2, 3, 0, 1, ... sum to 6, so every resample of whole blocks has the mean 1.5.
  std::vector<float> values;
  for (int i = 0; i < 400; ++i) values.push_back(static_cast<float>(i % 4));
  const Interval interval = BootstrapMean(values, {.block = 4, .resamples = 100});
  EXPECT_EQ(interval.low, 1.5);
  EXPECT_EQ(interval.high, 1.5);
}

TEST(Bootstrap, WithBlocksCoversTheMeanOfDependentValuesAsOftenAsItSays) {
  // AR(1) with phi = 0.6: the variance of the mean is (1 + phi) / (1 - phi) = 4 times what independence would give, so
  // the interval that ignores it reaches 1.96 / 2 standard errors and covers 67 %. The standard error of a share of
  // 2000 trials is 0.5 %, of 400 trials 2.4 %.
  EXPECT_NEAR(Coverage({.block = 48, .resamples = 400}, 2000), 0.95, 0.03);
  EXPECT_NEAR(Coverage({.block = 1, .resamples = 200}, 400), 0.67, 0.07);
}

TEST(Bootstrap, CoversAsStatedWithFewBlocksOfStronglyDependentValues) {
  // 4,096 tokens in blocks of 512 are 8 blocks; phi = 0.9 makes the variance of the mean 19 times that of independent
  // values, so the interval that ignores it reaches 1.96 / 4.36 standard errors: 35 %. Two standard errors of a share
  // of 1,000 trials around 95 % are 1.4 %.
  EXPECT_NEAR(Coverage({.resamples = 400}, 1000, 4096, 0.9), 0.95, 0.02);
  EXPECT_NEAR(Coverage({.block = 1, .resamples = 200}, 200, 4096, 0.9), 0.35, 0.1);
}

TEST(Bootstrap, OfDocumentsCoversAsStatedWhenWholeDocumentsAreEasyOrHard) {
  // Every token of a document has the document's value: blocks cut documents apart, documents do not.
  constexpr int kTrials = 500, kDocuments = 40;
  int covered = 0, covered_naive = 0;
  for (uint64_t trial = 0; trial < kTrials; ++trial) {
    const std::vector<float> easy = Autoregressive(kDocuments, 0, trial);
    std::vector<float> values;
    std::vector<int64_t> documents;
    for (size_t d = 0; d < easy.size(); ++d) {
      documents.push_back(static_cast<int64_t>(values.size()));
      values.insert(values.end(), 40 + RandomBelow(20, trial, 1, d), easy[d]);
    }
    const Interval whole = BootstrapMean(values, {.resamples = 400, .documents = documents});
    const Interval naive = BootstrapMean(values, {.block = 1, .resamples = 200});
    covered += whole.low <= 0 && 0 <= whole.high ? 1 : 0;
    covered_naive += naive.low <= 0 && 0 <= naive.high ? 1 : 0;
  }
  EXPECT_NEAR(covered / static_cast<double>(kTrials), 0.95, 0.02);
  EXPECT_LT(covered_naive / static_cast<double>(kTrials), 0.5);
}

TEST(Bootstrap, CountsResamplesOnTheOtherSideOfALimit) {
  const BootstrapDistribution distribution(2.5, {4, 1, 3, 2});
  EXPECT_EQ(distribution.ProbabilityBelow(2), (2 + 1) / 5.0);  // 1 and 2, and the sample itself
  EXPECT_EQ(distribution.ProbabilityAbove(2), (3 + 1) / 5.0);
  EXPECT_EQ(distribution.ProbabilityAbove(9), 1 / 5.0);  // never 0
}

TEST(Bootstrap, RefusesDocumentsThatDoNotFitTheValues) {
  const std::vector<float> values(100, 1.0f);
  const std::vector<int64_t> few = {0, 50}, descending = {0, 10, 20, 30, 40, 50, 45, 70, 80},
                             late = {1, 10, 20, 30, 40, 50, 60, 70};
  EXPECT_THROW(BootstrapMean(values, {.documents = few}), ShapeError);
  EXPECT_THROW(BootstrapMean(values, {.documents = descending}), ShapeError);
  EXPECT_THROW(BootstrapMean(values, {.documents = late}), ShapeError);
}

TEST(Holm, AdjustsAsWorkedByHand) {
  // Sorted 0.01, 0.03, 0.04: times 3, 2, 1 is 0.03, 0.06, 0.04, and no later one lies below an earlier one.
  const std::vector<double> adjusted = HolmAdjusted({0.01, 0.04, 0.03});
  ASSERT_EQ(adjusted.size(), 3u);
  EXPECT_DOUBLE_EQ(adjusted[0], 0.03);
  EXPECT_DOUBLE_EQ(adjusted[1], 0.06);
  EXPECT_DOUBLE_EQ(adjusted[2], 0.06);
  EXPECT_EQ(HolmAdjusted({0.9, 0.8})[0], 1);
}

TEST(Bootstrap, GivesTheSameWithAnyNumberOfThreads) {
  const std::vector<float> values = Autoregressive(5000, 0.5, 1);
  const auto with = [&values](size_t threads) {
    tbb::global_control control(tbb::global_control::max_allowed_parallelism, threads);
    return BootstrapMean(values, {.block = 100, .seed = 3});
  };
  const Interval one = with(1), two = with(2);
  EXPECT_EQ(one.low, two.low);
  EXPECT_EQ(one.high, two.high);
  EXPECT_NE(BootstrapMean(values, {.block = 100, .seed = 4}).low, one.low);
}

TEST(Bootstrap, OfPairedDifferencesMatchesAnExampleWorkedByHand) {
  // NLL of eight tokens: dense 1 2 3 4 1 2 3 4, pruned dense + (0.5 0.5 0 0 0 0 0 0). Mean difference 1 / 8, ratio
  // exp(0.125). Blocks of 2 (8 / 4): of the 7 places one sums to 1, one (the second) to 0.5, five to 0, and a resample
  // is four of them. So no resample's mean lies below 0, and P(mean 0) = (5/7)^4 = 0.26 puts the 2.5 % quantile at 0.
  // Its 97.5 % quantile: P(sum >= 2.5) = 3.96 %, P(sum >= 3) = 1.29 % (four draws of 1, 0.5, 0 with 1/7, 1/7, 5/7), so
  // the sum there is 2.5 and the mean 2.5 / 8. Four blocks are few: sqrt(4 / 3) and Student's quantile with 3 degrees
  // of freedom, 3.182446 for 1.959964 (tables), spread both by 1.874918 about the mean.
  const std::vector<float> difference = {0.5f, 0.5f, 0, 0, 0, 0, 0, 0};
  const Interval mean = BootstrapMean(difference, {.block = 512, .resamples = 20000});
  EXPECT_EQ(mean.mean, 0.125);
  EXPECT_NEAR(mean.low, 0.125 - 0.125 * 1.874918, 1e-6);
  EXPECT_NEAR(mean.high, 0.125 + (0.3125 - 0.125) * 1.874918, 1e-6);
  const Interval ratio = BootstrapExpMean(difference, {.block = 512, .resamples = 20000});
  EXPECT_EQ(ratio.mean, std::exp(0.125));
  EXPECT_EQ(ratio.low, std::exp(mean.low));
  EXPECT_EQ(ratio.high, std::exp(mean.high));
}

TEST(Bootstrap, RefusesWhatHasNoInterval) {
  std::vector<float> values(10, 1.0f);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(BootstrapMean(values), NumericError);
  EXPECT_EQ(MessageOf([&] { BootstrapMean(values); }), "bootstrap: value 3 of 10 is nan; expected finite values only");
  EXPECT_THROW(BootstrapMean(std::vector<float>(7, 1.0f)), ShapeError);
  EXPECT_THROW(BootstrapMean(std::vector<float>(10, 1.0f), {.block = 0}), RecipeError);
  EXPECT_THROW(BootstrapMean(std::vector<float>(10, 1.0f), {.confidence = 1}), RecipeError);
}

}  // namespace
}  // namespace espalier
