#pragma once
// The quadratic form behind removing inputs of a linear layer and refitting the others: one for the scorer that
// predicts the cost and the compensator that pays it.
#include <ATen/core/Tensor.h>

#include "espalier/calibrate/statistics.h"

namespace espalier {

// Of everything that solves or predicts a refit, unless a recipe says otherwise.
inline constexpr double kDefaultRidge = 0.01;

// S + lambda I + D + T: [n, n] float64, a new tensor.
// S is the weighted covariance of the inputs: the mean is removed, so that a constant is refitted as well.
// lambda = ridge times the mean diagonal of S, at least 1e-12.
// D_j = the left-out tokens' sum of x_j^2 over the weight of the counted ones. A column that is quiet except on a spike
// would else get a large coefficient that costs nothing on ordinary tokens and explodes on the spike: on SmolLM2-135M
// that alone turned perplexity 33 into 1,200.
// T_j = tail times sqrt(E[x_j^4]), the weighted mean over counted tokens: as large as E[x_j^2] times the root of the
// kurtosis. What a column does on rare tokens is little of its variance, is least known from the others, and differs
// most between texts; so much of it counts as not replaceable (ours).
// InternalError without co-moments.
at::Tensor InputSystem(const SiteStatistics& site, double ridge, double tail = 0);

}  // namespace espalier
