#pragma once
// Greedy removal of groups of inputs of a linear layer with the others refitted: the algebra behind the scorer obs.
#include <ATen/core/Tensor.h>

#include <vector>

namespace espalier {

// Notation: W [m, n] a weight, H [n, n] the quadratic form of its inputs (input_system.h), G [m, m] that of its
// outputs, P = W^T G W. Removing the inputs g and refitting the others to minimise tr(G dW H dW^T) costs
//   c_g = tr(([H^-1]_gg)^-1 P_gg)
// and leaves, with B = ([H^-1]_gg)^-1 [H^-1]_g: [g, n],
//   H^-1 - H^-1_:g B    and    W - W_:g B, so that P' = P - P_:g B - B^T P_g: + B^T P_gg B.
// Hassibi and Stork 1993 for a single weight; groups of columns as in OSSCAR, arXiv 2403.12983.
struct RemovalSystem {
  at::Tensor inverse;  // H^-1 [n, n] float64
  at::Tensor output;   // P [n, n] float64
};

// The cost of removing each unit from the intact layer: [units] float64. columns[u] are the inputs of unit u.
at::Tensor RemovalCosts(const RemovalSystem& system, const std::vector<std::vector<int64_t>>& columns);

// Removes the cheapest unit, refits, and goes on until none is left. For each unit the cost at its turn, or that of a
// dearer one that went before it: the running maximum keeps the order of removal under any ranking. [units] float64.
at::Tensor GreedyRemovalCosts(const RemovalSystem& system, const std::vector<std::vector<int64_t>>& columns);

}  // namespace espalier
