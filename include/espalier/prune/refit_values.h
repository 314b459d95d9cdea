#pragma once
// What cuts do to later blocks, taken back where attention reads the stream: w_v is refitted to what reaches it.
#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include "espalier/model/model.h"

namespace espalier {

struct RefitValuesData {
  at::Tensor windows;                   // [S, T] int64, of the calibration
  c10::ScalarType matmul = at::kFloat;  // of the products of the passes
  double outlier_ratio = 0;             // OutlierTokens of calibrate.h
  double ridge = 0;                     // as a share of the mean square of the inputs, each token by its weight
  int64_t batch = 8;                    // windows at a time
};

// Refits w_v of every block of `cut` (made from `model` by Cut, consumers refitted), first block to last.
// With x what the dense attention reads of a token and y what reaches it in the cut model, refits before it included:
//   W' = argmin E||W x - W' y||^2 + lambda ||W' - W||^2 = W + W E[(x - y) y'] (E[y y'] + lambda I)^-1
// Spike and sink tokens count as many times as a window has tokens: every later token attends to their values, which
// have to stay as small as they are. Biases stay. No parameter is added: only values change. Queries, keys and the
// inputs of the FFN are left alone on purpose: a regression shrinks what it predicts, and refitted alike they made
// SmolLM2-135M worse.
// Relatives: GPTAQ (arXiv 2504.02692) aims at dense inputs when it quantises; for pruning, and for values only, ours.
// Memory: two residual streams [S, T, C] and one block's activations of a batch.
// RecipeError when residual channels were cut; NumericError naming the block when the system cannot be solved.
void RefitValues(const Model& model, const RefitValuesData& data, Model& cut);

}  // namespace espalier
