#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "score/by_hand.h"

namespace espalier {
namespace {

at::Tensor Score(UnitKind kind, bool normalize, const Statistics& statistics = StatisticsByHand()) {
  const Model model = ModelByHand();
  Options options(Registry<Scorer>::Find("head_output_norm").info.options);
  options.Set("normalize", normalize);
  return Registry<Scorer>::Create("head_output_norm", options)->Score({model, 0, kind, &statistics});
}

TEST(HeadOutputNorm, OfAKvGroupIsTheRootMeanSquareOfItsOutputNorm) {
  // Group 0 writes (1, 0) and (1, 4): squared norms 1 and 17, mean 9. Group 1 (2, 3) and (2, 5): 13 and 29, mean 21.
  // With the outlier's (7, 2) and (2, 1): (18 + 53) / 3 and (42 + 5) / 3.
  const at::Tensor ordinary = Score(UnitKind::kKvGroup, false),
                   all = Score(UnitKind::kKvGroup, false, StatisticsByHand(false));
  ASSERT_EQ(ordinary.sizes(), (std::vector<int64_t>{2, 1}));
  EXPECT_NEAR(ordinary[0][0].item<double>(), 3, 1e-12);
  EXPECT_NEAR(ordinary[1][0].item<double>(), std::sqrt(21), 1e-12);
  EXPECT_NEAR(all[0][0].item<double>(), std::sqrt(71.0 / 3), 1e-12);
  EXPECT_NEAR(all[1][0].item<double>(), std::sqrt(47.0 / 3), 1e-12);
}

TEST(HeadOutputNorm, OfAnFfnChannelIsTheRootMeanSquareOfWhatItWrites) {
  // Mean squares 10 / 2 and 32 / 2, times the squared norms of the columns of w_down, 1 + 9 and 4 + 0.
  const at::Tensor score = Score(UnitKind::kFfnChannel, false);
  EXPECT_NEAR(score[0][0].item<double>(), std::sqrt(50), 1e-12);
  EXPECT_NEAR(score[1][0].item<double>(), 8, 1e-12);
}

TEST(HeadOutputNorm, NormalizedIsRelativeToTheMeanOfTheBlock) {
  const at::Tensor groups = Score(UnitKind::kKvGroup, true);
  EXPECT_NEAR(groups[0][0].item<double>(), 6 / (3 + std::sqrt(21)), 1e-12);
  EXPECT_NEAR(groups[1][0].item<double>(), 2 * std::sqrt(21) / (3 + std::sqrt(21)), 1e-12);
  EXPECT_NEAR(Score(UnitKind::kFfnChannel, true).mean().item<double>(), 1, 1e-12);
}

TEST(HeadOutputNorm, OfABlockThatWritesNothingIsZero) {
  Statistics statistics = StatisticsByHand();
  for (Moments* moments : {&statistics.blocks[0].head_out.counted, &statistics.blocks[0].ffn_hidden.counted}) {
    moments->mean = at::zeros_like(moments->mean);
    moments->squares = at::zeros_like(moments->squares);
  }
  for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel})
    EXPECT_TRUE(at::equal(Score(kind, true, statistics), at::zeros({2, 1}, at::kDouble)));
}

}  // namespace
}  // namespace espalier
