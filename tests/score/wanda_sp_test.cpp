#include <gtest/gtest.h>

#include <cmath>

#include "score/by_hand.h"

namespace espalier {
namespace {

at::Tensor Score(UnitKind kind, bool leave_out) {
  const Model model = ModelByHand();
  const Statistics statistics = StatisticsByHand(leave_out);
  return Registry<Scorer>::Create("wanda_sp")->Score({model, 0, kind, &statistics});
}

TEST(WandaSp, OfAnFfnChannelMatchesTheFormulaWorkedByHand) {
  // mean_i |W_ij|: (1 + 3) / 2 = 2 and (2 + 0) / 2 = 1. ||X_j|| of the ordinary tokens: sqrt(1 + 9), sqrt(16 + 16);
  // with the outlier sqrt(35), sqrt(36).
  const at::Tensor ordinary = Score(UnitKind::kFfnChannel, true), all = Score(UnitKind::kFfnChannel, false);
  EXPECT_NEAR(ordinary[0][0].item<double>(), 2 * std::sqrt(10), 1e-12);
  EXPECT_NEAR(ordinary[1][0].item<double>(), std::sqrt(32), 1e-12);
  EXPECT_NEAR(all[0][0].item<double>(), 2 * std::sqrt(35), 1e-12);
  EXPECT_NEAR(all[1][0].item<double>(), 6, 1e-12);
}

TEST(WandaSp, OfAKvGroupHasOnePartForEachColumnItFeeds) {
  // Columns of w_o: mean |W| 1, 1, 0.5, 1; ||X|| of the ordinary tokens sqrt(2), 4, sqrt(8), sqrt(34). Two columns a
  // group.
  const at::Tensor score = Score(UnitKind::kKvGroup, true);
  ASSERT_EQ(score.sizes(), (std::vector<int64_t>{2, 2}));
  EXPECT_NEAR(score[0][0].item<double>(), std::sqrt(2), 1e-12);
  EXPECT_NEAR(score[0][1].item<double>(), 4, 1e-12);
  EXPECT_NEAR(score[1][0].item<double>(), 0.5 * std::sqrt(8), 1e-12);
  EXPECT_NEAR(score[1][1].item<double>(), std::sqrt(34), 1e-12);
}

}  // namespace
}  // namespace espalier
