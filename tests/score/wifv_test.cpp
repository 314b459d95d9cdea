#include <gtest/gtest.h>

#include "score/by_hand.h"

namespace espalier {
namespace {

at::Tensor Score(UnitKind kind, bool leave_out) {
  const Model model = ModelByHand();
  const Statistics statistics = StatisticsByHand(leave_out);
  return Registry<Scorer>::Create("wifv")->Score({model, 0, kind, &statistics});
}

TEST(Wifv, OfAnFfnChannelMatchesTheFormulaWorkedByHand) {
  // sum_i W_ij^2: 1 + 9 = 10 and 4. Var of the ordinary tokens: of (1, 3) 1, of (4, 4) 0: a constant input costs
  // nothing. With the outlier: of (1, 3, 5) 8/3; of (4, 4, -2) mean 2, (4 + 4 + 16) / 3 = 8.
  const at::Tensor ordinary = Score(UnitKind::kFfnChannel, true), all = Score(UnitKind::kFfnChannel, false);
  EXPECT_NEAR(ordinary[0][0].item<double>(), 10, 1e-12);
  EXPECT_EQ(ordinary[1][0].item<double>(), 0);
  EXPECT_NEAR(all[0][0].item<double>(), 80.0 / 3, 1e-12);
  EXPECT_NEAR(all[1][0].item<double>(), 32, 1e-12);
}

TEST(Wifv, OfAKvGroupHasOnePartForEachColumnItFeeds) {
  // Columns of w_o: squared norms 2, 4, 1, 2; variances of the ordinary tokens 0, 4, 0, 1.
  const at::Tensor score = Score(UnitKind::kKvGroup, true);
  EXPECT_TRUE(at::allclose(score, at::tensor({0.0, 16.0, 0.0, 2.0}, at::kDouble).view({2, 2}))) << score;
}

}  // namespace
}  // namespace espalier
