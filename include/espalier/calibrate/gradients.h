#pragma once
// Gradients of the next-token loss with respect to activations, streamed block by block: no weight has a gradient and
// one block's graph exists at a time.
#include <ATen/core/Tensor.h>

#include <functional>

#include "espalier/calibrate/statistics.h"
#include "espalier/model/model.h"

namespace espalier {

// The input of w_o or w_down of one batch [B, T, n] and the gradient of the sum over tokens of the loss (nats) with
// respect to it.
using VisitGradient =
    std::function<void(int64_t block, Role consumer, const at::Tensor& input, const at::Tensor& gradient)>;

// windows [S, T] int64. Blocks come last to first within a batch. Memory: the block inputs of one batch.
void StreamGradients(const Model& model, const at::Tensor& windows, int64_t batch, const VisitGradient& visit);

// Fills the loss mass of every block: for a unit with the input columns U, the sum over tokens of
// (sum_{j in U} x_j dL/dx_j)^2, the empirical Fisher information of a factor on the unit's output at 1 (SCAR, arXiv
// 2604.23475; for the factor view Molchanov et al. 2017, arXiv 1611.06440).
void AddLossMass(const Model& model, const at::Tensor& windows, int64_t batch, Statistics& statistics);

}  // namespace espalier
