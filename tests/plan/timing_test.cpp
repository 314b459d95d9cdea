#include "espalier/plan/timing.h"

#include <gtest/gtest.h>

#include "support/tiny_model.h"

namespace espalier {
namespace {

TEST(Timing, OfEverySublayerThatAModelHasIsPositive) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Timing timing = MeasureTiming(TinyModel(1, shape));
    EXPECT_GT(timing.attention, 0) << name;
    EXPECT_GT(timing.ffn, 0) << name;
    EXPECT_GT(timing.head, 0) << name;
  }
}

TEST(Timing, OfWhatAModelLacksIsZero) {
  const Timing timing = MeasureTiming(TinyModel(1, {.blocks = {{0, 0, 8}}}));
  EXPECT_EQ(timing.attention, 0);
  EXPECT_GT(timing.ffn, 0);
}

}  // namespace
}  // namespace espalier
