#include <gtest/gtest.h>

#include "espalier/protect/rule.h"

namespace espalier {
namespace {

TEST(SuperWeights, ProtectsTheNeuronOfTheWeightsColumn) {
  Phenomena phenomena;
  phenomena.super_weights.push_back({.block = 2, .row = 5, .column = 9, .input = 400, .output = 1000, .weight = 2.5});
  const std::vector<Protection> found = Registry<ProtectionRule>::Create("super_weights")->Protect({{}, phenomena});
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[1].unit, (Unit{2, UnitKind::kFfn, 0}));
  EXPECT_EQ(found[2].unit, (Unit{2, UnitKind::kBlock, 0}));
  EXPECT_EQ(found[3].unit, (Unit{kWholeModel, UnitKind::kResidualChannel, 5}));
  EXPECT_EQ(found[0].unit, (Unit{2, UnitKind::kFfnChannel, 9}));
  EXPECT_EQ(found[0].rule, "super_weights");
  EXPECT_EQ(found[0].reason, "w_down[5, 9] = 2.5 meets an input of 400 and an output of 1000");
}

TEST(SuperWeights, ProtectsNothingWhereThereAreNone) {
  EXPECT_TRUE(Registry<ProtectionRule>::Create("super_weights")->Protect({{}, {}}).empty());
}

}  // namespace
}  // namespace espalier
