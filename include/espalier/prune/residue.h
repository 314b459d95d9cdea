#pragma once
// A low-rank residue: what refitted columns of an FFN cannot give back, as a few linear channels of the same FFN.
#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include "espalier/calibrate/statistics.h"
#include "espalier/model/model.h"
#include "espalier/plan/plan.h"

namespace espalier {

struct ResidueData {
  at::Tensor windows;  // [S, T] int64, of the calibration
  TokenWeighting tokens = TokenWeighting::kAll;
  double outlier_ratio = 0;             // OutlierTokens of calibrate.h
  c10::ScalarType matmul = at::kFloat;  // of the products of the passes
  int64_t rank = 0;                     // linear channels of each FFN that lost some
  double ridge = 0;                     // as a share of the mean variance of hidden channels, and of the FFN's inputs
  int64_t batch = 8;                    // windows at a time
};

// In every FFN of `cut` (made from `model` by Cut with `plan`) that lost channels, `rank` of those that stay become
// linear: gate row 0 with the gate bias at which the activation is 1, so that the channel is its up row times the FFN's
// input. The channels that give way are the ones whose removal costs least after a refit, never protected ones. With x
// the FFN's input, h its dense hidden channels, P those that stay as they are and R the others:
//   min over W', B of rank r  E||W h - W' h_P - B x||^2 + ||(W' - W_P)(lambda I + D)^1/2||^2 + lambda_x ||B||^2
// solved exactly: with S = S_xx - S_xP S_PP^-1 S_Px and c = S_xR W_R' - S_xP S_PP^-1 S_PR W_R' (what of x and of the
// missing output h_P does not explain), B = U U' c' S^-1, U the top eigenvectors of c' S^-1 c (reduced-rank regression,
// Izenman 1975, doi 10.1016/0047-259X(75)90042-1, on partial covariances). w_down is refitted with it; D as in
// input_system.h. The shape stays. Every w_gate gains a bias, also where no channel
// went: what a plan has to count then does not depend on what it cuts.
// A low-rank part beside pruned weights: "Catch, tag, release" (arXiv 2502.00919); as channels of a stock FFN, ours.
// Returns the share of the missing output's variance that linear channels and refit explain, of all blocks, by tokens'
// weights.
// RecipeError when FFNs have no gate, the residual stream was cut, or too few unprotected channels stay; NumericError
// naming the block when a system cannot be solved.
double AddResidue(const Model& model, const Plan& plan, const ResidueData& data, Model& cut);

}  // namespace espalier
