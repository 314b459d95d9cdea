#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "score/by_hand.h"

namespace espalier {
namespace {

at::Tensor Score(UnitKind kind) {
  const Model model = ModelByHand();
  const Statistics statistics = StatisticsByHand();
  return Registry<Scorer>::Create("wifn")->Score({model, 0, kind, &statistics});
}

TEST(Wifn, OfAnFfnChannelIsTheMeanWeightTimesTheInputNorm) {
  // mean_i |W_ij|: 2 and 1; ||X_j||: sqrt(10) and sqrt(32). Not squared.
  const at::Tensor score = Score(UnitKind::kFfnChannel);
  EXPECT_TRUE(at::allclose(score, at::tensor({2 * std::sqrt(10.0), std::sqrt(32.0)}, at::kDouble).view({2, 1})))
      << score;
}

TEST(Wifn, OfAKvGroupIsSquaredColumnByColumn) {
  // (mean |W| ||X||)^2: 1 * 2, 1 * 16, 0.25 * 8, 1 * 34.
  const at::Tensor score = Score(UnitKind::kKvGroup);
  EXPECT_TRUE(at::allclose(score, at::tensor({2.0, 16.0, 2.0, 34.0}, at::kDouble).view({2, 2}))) << score;
}

}  // namespace
}  // namespace espalier
