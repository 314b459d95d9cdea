#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "score/by_hand.h"

namespace espalier {
namespace {

TEST(Magnitude, OfAnFfnChannelMatchesSumsWorkedByHand) {
  // Channel 0: gate row (1, 2) and up row (0, 1), down column (1, 3): 1 + 4 + 0 + 1 + 1 + 9 = 16.
  // Channel 1: gate (-1, 0), up (2, 2), down column (-2, 0): 1 + 0 + 4 + 4 + 4 + 0 = 13.
  const Model model = ModelByHand();
  const at::Tensor score = Registry<Scorer>::Create("magnitude")->Score({model, 0, UnitKind::kFfnChannel, nullptr});
  EXPECT_TRUE(at::equal(score, at::tensor({16.0, 13.0}, at::kDouble).view({2, 1}))) << score;
}

TEST(Magnitude, OfAKvGroupMatchesSumsWorkedByHand) {
  // Group 0: k rows (1, 0), (0, 1) and v rows (1, 1), (0, 2), q rows (1, 1), (0, 1), o columns (1, 1), (2, 0):
  // 1 + 1 + 2 + 4 + 2 + 1 + 2 + 4 = 17. Group 1: k (2, 0), (0, 0), v (0, 1), (1, 0), q (3, 0), (0, 0), o (0, 1), (1,
  // 1): 4 + 0 + 1 + 1 + 9 + 0 + 1 + 2 = 18.
  const Model model = ModelByHand();
  const at::Tensor score = Registry<Scorer>::Create("magnitude")->Score({model, 0, UnitKind::kKvGroup, nullptr});
  EXPECT_TRUE(at::equal(score, at::tensor({17.0, 18.0}, at::kDouble).view({2, 1}))) << score;
}

TEST(Magnitude, InL1SumsAbsoluteValues) {
  // Channel 0: 1 + 2 + 0 + 1 + 1 + 3 = 8; channel 1: 1 + 0 + 2 + 2 + 2 + 0 = 7.
  // Group 0: k 1 + 1, v 2 + 2, q 2 + 1, o 2 + 2: 13. Group 1: k 2, v 1 + 1, q 3, o 1 + 2: 10, the other order than in
  // l2.
  const Model model = ModelByHand();
  Options options(Registry<Scorer>::Find("magnitude").info.options);
  options.Set("norm", std::string("l1"));
  const auto scorer = Registry<Scorer>::Create("magnitude", options);
  const at::Tensor channels = scorer->Score({model, 0, UnitKind::kFfnChannel, nullptr});
  EXPECT_TRUE(at::equal(channels, at::tensor({8.0, 7.0}, at::kDouble).view({2, 1}))) << channels;
  const at::Tensor groups = scorer->Score({model, 0, UnitKind::kKvGroup, nullptr});
  EXPECT_TRUE(at::equal(groups, at::tensor({13.0, 10.0}, at::kDouble).view({2, 1}))) << groups;
}

}  // namespace
}  // namespace espalier
