#include "espalier/model/rope_rescale.h"

#include <gtest/gtest.h>

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/model/forward.h"

namespace espalier {
namespace {

constexpr int64_t kD = 64;

ModelConfig Config() {
  ModelConfig config;
  config.D = kD;
  config.max_positions = 2048;
  config.rope.theta = 10000;
  return config;
}

std::vector<float> Frequencies(const std::string& method, double factor) {
  return RopeFrequencies(WithRope(Config(), {method, factor}).rope, kD);
}

TEST(RopeRescale, ByOneChangesNothing) {
  const std::vector<float> plain = RopeFrequencies(Config().rope, kD);
  for (const std::string& method : RopeMethods()) {
    EXPECT_EQ(Frequencies(method, 1), plain) << method;
    EXPECT_EQ(WithRope(Config(), {method, 1}).rope.attention_factor, 1) << method;
  }
}

TEST(RopeRescale, FollowsTheClosedForms) {
  const double slowest = std::pow(10000.0, -62.0 / 64), second = std::pow(10000.0, -2.0 / 64);
  EXPECT_NEAR(Frequencies("linear", 4)[1], second / 4, 1e-7);
  EXPECT_NEAR(Frequencies("base", 100)[1], std::pow(1e6, -2.0 / 64), 1e-7);
  const std::vector<float> yarn = Frequencies("yarn", 4);
  EXPECT_NEAR(yarn[0], 1, 1e-7);              // 326 turns over 2048 positions: kept
  EXPECT_NEAR(yarn[31], slowest / 4, 1e-10);  // less than one turn: divided
  EXPECT_NEAR(yarn[1], second, 1e-7);
  // The ramp: 32 turns at pair 8.06, down to 8; 1 turn at pair 20.1, up to 21 (pairs are D/2 log-spaced).
  const double ramp = (14.0 - 8) / (21 - 8), plain = std::pow(10000.0, -28.0 / 64);
  EXPECT_NEAR(yarn[14], plain / 4 * ramp + plain * (1 - ramp), 1e-7);
  EXPECT_NEAR(WithRope(Config(), {"yarn", 4}).rope.attention_factor, 1 + 0.1 * std::log(4), 1e-12);
}

TEST(RopeRescale, RefusesAModelThatIsRescaledAlreadyOrDoesNotTellItsPositions) {
  ModelConfig config = Config();
  config.rope.scaling = "llama3";
  EXPECT_THROW(WithRope(config, {"yarn", 2}), RecipeError);
  config = Config();
  config.max_positions = 0;
  EXPECT_THROW(WithRope(config, {"linear", 2}), RecipeError);
  EXPECT_EQ(WithRope(config, {"as_trained", 1}).rope.scaling, "none");
}

}  // namespace
}  // namespace espalier
