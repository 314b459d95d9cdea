#pragma once
// Removal of groups of inputs of a linear layer with the others refitted: the algebra behind the scorer obs, and a
// search that improves what was removed.
#include <ATen/core/Tensor.h>

#include <vector>

#include "espalier/score/scorer.h"

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

// The cost of removing each unit from the intact layer: [units] float64. columns[u] are the inputs of unit u, and
// factors [units] float64 what its cost is multiplied by; undefined: 1.
at::Tensor RemovalCosts(const RemovalSystem& system, const std::vector<std::vector<int64_t>>& columns,
                        const at::Tensor& factors = {});

// Removes the cheapest unit, refits, and goes on until none is left. For each unit the cost at its turn, or that of a
// dearer one that went before it: the running maximum keeps the order of removal under any ranking. [units] float64.
at::Tensor GreedyRemovalCosts(const RemovalSystem& system, const std::vector<std::vector<int64_t>>& columns,
                              const at::Tensor& factors = {});

// P = W^T G W of a consumer: [n, n] float64. G is the mean over tokens of dL/dy dL/dy^T, or the identity. InternalError
// without gradient products, ShapeError when they are of another model.
at::Tensor OutputSystem(const ScoreInput& input, Role consumer, bool gradient);

// Which columns go after a search, and the cost tr(([H^-1]_RR)^-1 P_RR) of removing them before and after it.
struct SwapResult {
  std::vector<int64_t> removed;  // ascending
  double before = 0, after = 0;
  int64_t exchanges = 0;
};
// Local search over exchanges, as OSSCAR does after its greedy pass (arXiv 2403.12983, there without bounds on which
// columns): of all pairs of a removed and a kept column that is not `held`, the one whose exchange lowers the cost most
// is exchanged, until none lowers it or `most` were. h, p [n, n] float64 symmetric. One factorisation for each
// exchange: with K kept, R removed, B = H_KK^-1 H_KR and M = H_RR - H_RK B = ([H^-1]_RR)^-1, taking r back and then
// removing k changes the cost by
//   (P'_kk - 2 B_kr X_rk + B_kr^2 Q_r) / ([H_KK^-1]_kk + B_kr^2 / M_rr) - M_rr Q_r
// where P' = (W_K + W_R B^T)^T G (W_K + W_R B^T) is that of the refitted weights, and those of r among the kept ones
// would be W_R M_:r / M_rr: Q_r = (M P_RR M)_rr / M_rr^2 and X = diag(M)^-1 M (P_RK + P_RR B^T). NumericError when H is
// not positive definite.
SwapResult SearchSwaps(const at::Tensor& h, const at::Tensor& p, std::vector<int64_t> removed,
                       const std::vector<int64_t>& held, int64_t most);

}  // namespace espalier
