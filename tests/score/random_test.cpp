#include "espalier/core/random.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "score/by_hand.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

at::Tensor Score(const Model& model, int64_t block, UnitKind kind, int64_t seed) {
  Options options(Registry<Scorer>::Find("random").info.options);
  options.Set("seed", seed);
  return Registry<Scorer>::Create("random", options)->Score({model, block, kind, nullptr});
}

TEST(Random, IsUniformOverTheUnits) {
  const Model model = TinyModel(1, EvenShape(1, {4, 2, 4000}));
  const at::Tensor score = Score(model, 0, UnitKind::kFfnChannel, 0);
  EXPECT_GE(score.min().item<double>(), 0);
  EXPECT_LT(score.max().item<double>(), 1);
  // Mean 1/2 and variance 1/12 of a uniform draw; four standard errors of 4000 draws: 4 * 0.289 / 63.2 = 0.0183, and of
  // the variance 4 * sqrt((1/80 - 1/144) / 4000) = 0.0047.
  EXPECT_NEAR(score.mean().item<double>(), 0.5, 0.0183);
  EXPECT_NEAR(score.var(false).item<double>(), 1.0 / 12, 0.0047);
}

TEST(Random, DependsOnSeedBlockKindAndUnitOnly) {
  const Model model = TinyModel(1, EvenShape(2, {4, 2, 24})), other = TinyModel(2, EvenShape(2, {4, 2, 30}));
  const at::Tensor score = Score(model, 0, UnitKind::kFfnChannel, 7);
  // Other weights and more units: the first 24 draws stay.
  EXPECT_TRUE(at::equal(score, Score(other, 0, UnitKind::kFfnChannel, 7).slice(0, 0, 24)));
  EXPECT_FALSE(at::equal(score, Score(model, 0, UnitKind::kFfnChannel, 8)));
  EXPECT_FALSE(at::equal(score, Score(model, 1, UnitKind::kFfnChannel, 7)));
  const at::Tensor groups = Score(model, 0, UnitKind::kKvGroup, 7);
  EXPECT_FALSE(at::equal(score.slice(0, 0, 2), groups));
  EXPECT_FALSE(at::equal(groups, Score(model, 1, UnitKind::kKvGroup, 7)));
}

TEST(Random, IsTheCounterBasedDrawOfTheUnit) {
  // Streams 2 l (KV groups) and 2 l + 1 (FFN channels): runs of an earlier version can be repeated.
  const Model model = TinyModel(1, EvenShape(2, {4, 2, 24}));
  EXPECT_EQ(Score(model, 1, UnitKind::kKvGroup, 7)[1][0].item<double>(), RandomUnit(7, 2, 1));
  EXPECT_EQ(Score(model, 1, UnitKind::kFfnChannel, 7)[23][0].item<double>(), RandomUnit(7, 3, 23));
}

}  // namespace
}  // namespace espalier
