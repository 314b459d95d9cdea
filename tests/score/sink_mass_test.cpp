#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/score/scorer.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

TEST(SinkMass, SaysThatThePlantedSinkHeadGoesFirst) {
  const Model model = PlantedModel(1);
  const Statistics statistics = Calibrate(model, PlantedIds(1, 3, 16), {.attention = true});
  const auto scorer = Registry<Scorer>::Create("sink_mass");
  const at::Tensor score =
      CheckedScore(*scorer, "sink_mass", {model, Planted::kSinkBlock, UnitKind::kQueryHead, &statistics});
  EXPECT_EQ(score.argmin().item<int64_t>(), Planted::kSinkHead);
  EXPECT_NEAR(score.min().item<double>(), -1, 0.01);  // it attends to the first token and nothing else
}

TEST(SinkMass, OfAKvGroupIsTheMeanOfItsHeads) {
  // Four heads in two groups, three queries a sequence of length 4, two sequences: six queries.
  const Model model = TinyModel(1, EvenShape(1));
  Statistics statistics = Calibrate(model, RandomIds(1, 2, 4, model.config.V), {.attention = true});
  statistics.blocks[0].attention["sink_mass"] = at::tensor({6.0, 0.0, 3.0, 1.5}, at::kDouble);
  const auto scorer = Registry<Scorer>::Create("sink_mass");
  EXPECT_TRUE(at::allclose(scorer->Score({model, 0, UnitKind::kQueryHead, &statistics}),
                           at::tensor({-1.0, 0.0, -0.5, -0.25}, at::kDouble).view({4, 1})));
  EXPECT_TRUE(at::allclose(scorer->Score({model, 0, UnitKind::kKvGroup, &statistics}),
                           at::tensor({-0.5, -0.375}, at::kDouble).view({2, 1})));
}

}  // namespace
}  // namespace espalier
