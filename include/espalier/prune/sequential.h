#pragma once
// Compensation that walks the model: every consumer is refitted on the inputs that reach it through what is already
// pruned and refitted.
#include <ATen/core/Tensor.h>

#include "espalier/calibrate/statistics.h"
#include "espalier/prune/compensator.h"

namespace espalier {

struct SequentialData {
  at::Tensor windows;  // [S, T] int64, the calibration's
  TokenWeighting tokens = TokenWeighting::kOrdinary;
  double outlier_ratio = 64;
  c10::ScalarType matmul = at::kFloat;  // of the products of the passes
  int64_t batch = 8;                    // windows at a time
};

// Refits every cut consumer of `cut` (made from `model` by Cut with `plan`), first block to last.
// A consumer's target, on the residual stream h of the pruned path:
//   the dense sublayer's output on h                                    what the cut alone must not change
//   + the outputs of the sublayers right after it that are gone         a linear replacement, folded into what is left
//   + feedback * (h of the dense path - h)                              error feedback (unstructured: GPTAQ,
//   2504.02692)
// With feedback 0 the dense path is not run, and what loses nothing is not refitted. A removed sublayer whose
// predecessor takes its part over leaves a bias of zero: an affine refit has no mean error. Families with a norm on a
// sublayer's output (NormPlacement other than kPre) have the first term only: the others are no outputs of the layer.
// Memory: two residual streams [S, T, C] (one without feedback) and one block's activations of a batch.
// RecipeError when the plan cuts residual channels, as there is no dense output of the same width to aim at, and for
// feedback in a family with such a norm.
void CompensateSequentially(const Model& model, const Plan& plan, const SequentialData& data,
                            const Compensator& compensator, Model& cut);

}  // namespace espalier
