#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "score/by_hand.h"

namespace espalier {
namespace {

at::Tensor Score(UnitKind kind, bool leave_out, bool square_attention = false) {
  const Model model = ModelByHand();
  const Statistics statistics = StatisticsByHand(leave_out);
  Options options(Registry<Scorer>::Find("ifv").info.options);
  options.Set("square_attention", square_attention);
  return Registry<Scorer>::Create("ifv", options)->Score({model, 0, kind, &statistics});
}

TEST(Ifv, OfAnFfnChannelIsTheVarianceWorkedByHand) {
  // Ordinary tokens: of (1, 3) 1, of (4, 4) 0. With the outlier: of (1, 3, 5) 8/3; of (4, 4, -2) mean 2, 24/3 = 8.
  const at::Tensor ordinary = Score(UnitKind::kFfnChannel, true), all = Score(UnitKind::kFfnChannel, false);
  EXPECT_TRUE(at::allclose(ordinary, at::tensor({1.0, 0.0}, at::kDouble).view({2, 1}))) << ordinary;
  EXPECT_TRUE(at::allclose(all, at::tensor({8.0 / 3, 8.0}, at::kDouble).view({2, 1}))) << all;
}

TEST(Ifv, OfAKvGroupHasOnePartForEachColumnItFeeds) {
  // Columns of w_o, ordinary tokens: (1, 1), (0, 4), (2, 2), (3, 5).
  const at::Tensor score = Score(UnitKind::kKvGroup, true);
  EXPECT_TRUE(at::allclose(score, at::tensor({0.0, 4.0, 0.0, 1.0}, at::kDouble).view({2, 2}))) << score;
}

TEST(Ifv, SquaresTheColumnsOfAttentionOnlyWhenAskedTo) {
  const at::Tensor groups = Score(UnitKind::kKvGroup, true, true);
  EXPECT_TRUE(at::allclose(groups, at::tensor({0.0, 16.0, 0.0, 1.0}, at::kDouble).view({2, 2}))) << groups;
  EXPECT_TRUE(at::equal(Score(UnitKind::kFfnChannel, false, true), Score(UnitKind::kFfnChannel, false)));
}

}  // namespace
}  // namespace espalier
