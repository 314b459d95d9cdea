#include "espalier/calibrate/input_system.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// Counted: (0, 1), (2, 1), (4, 7), of weights 1, 2, 1. Left out: (10, 0) and (0, 6).
SiteStatistics SiteByHand() {
  SiteStatistics site{Moments::Empty(2, true), Moments::Empty(2, false)};
  const at::Tensor places = at::zeros({3, 2}, at::kLong);
  site.counted.Add(at::tensor({0.f, 1.f, 2.f, 1.f, 4.f, 7.f}).view({3, 2}), places,
                   at::tensor({1.0, 2.0, 1.0}, at::kDouble));
  site.left_out.Add(at::tensor({10.f, 0.f, 0.f, 6.f}).view({2, 2}), places.narrow(0, 0, 2));
  return site;
}

TEST(InputSystem, IsTheCovarianceWithARidgeAndTheLeftOutTokensOnItsDiagonal) {
  // Mean (2, 2.5), deviations (-2, -1.5), (0, -1.5), (2, 4.5).
  // S = (1 * 4 + 0 + 1 * 4, 3 + 0 + 9; ., 2.25 + 4.5 + 20.25) / 4 = (2, 3; 3, 6.75). Mean diagonal 4.375.
  // Left out: sums of squares (100, 36) over the weight 4: (25, 9).
  const at::Tensor expected = at::tensor({2 + 0.4375 + 25, 3.0, 3.0, 6.75 + 0.4375 + 9}, at::kDouble).view({2, 2});
  const at::Tensor system = InputSystem(SiteByHand(), 0.1);
  EXPECT_TRUE(at::allclose(system, expected, 1e-6)) << system;
}

TEST(InputSystem, AddsAShareOfTheRootOfTheMeanFourthPowerToEachDiagonalEntry) {
  // (0 + 2 * 16 + 256) / 4 = 72 and (1 + 2 + 2401) / 4 = 601: of counted tokens only, about zero.
  const at::Tensor more = InputSystem(SiteByHand(), 0.1, 0.5) - InputSystem(SiteByHand(), 0.1);
  const at::Tensor expected = at::diag(at::tensor({0.5 * std::sqrt(72.0), 0.5 * std::sqrt(601.0)}, at::kDouble));
  EXPECT_TRUE(at::allclose(more, expected, 1e-6)) << more;
}

TEST(InputSystem, WithoutCoMomentsIsARequestThatNobodyDeclared) {
  EXPECT_THROW(InputSystem({Moments::Empty(2, false), Moments::Empty(2, false)}, 0.1), InternalError);
}

}  // namespace
}  // namespace espalier
