#pragma once
// The score of a column that wanda_sp and wifn share.
#include <ATen/ATen.h>

#include "espalier/score/scorer.h"

namespace espalier {

// mean_i |W_ij| ||X_j||_2, [n] float64.
inline at::Tensor WeightTimesNorm(const ConsumerInput& consumer) {
  return consumer.weight.abs().to(at::kDouble).mean(0).cpu() * consumer.moments.SumOfSquares().sqrt();
}

}  // namespace espalier
