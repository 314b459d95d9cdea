#pragma once
// Cutting for real: smaller tensors. And the mask that a cut must equal.
#include <ATen/core/Tensor.h>

#include "espalier/model/model.h"
#include "espalier/plan/plan.h"

namespace espalier {

// A new model of the kept units' rows and columns; tensors that lose nothing are shared with `model`. A block that
// keeps no groups or no channels has no such sublayer any more. RecipeError when the plan does not fit the model.
Model Cut(const Model& model, const Plan& plan);

// The original sizes, with everything that removed units own set to zero.
Model Mask(const Model& model, const Plan& plan);

// max |a - b| / max |b| of the logits of `cut` and `masked` on ids [B, T]: what every run checks before it goes on.
// NumericError above `limit`.
double CheckCutEqualsMask(const Model& cut, const Model& masked, const at::Tensor& ids, double limit);

// The input columns of w_o or w_down that stay when `kept` units stay.
std::vector<int64_t> KeptColumns(const Model& model, int64_t block, UnitKind kind, const std::vector<int64_t>& kept);

}  // namespace espalier
