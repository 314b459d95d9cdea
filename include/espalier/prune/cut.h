#pragma once
// Cutting for real: smaller tensors. And the mask that a cut must equal.
#include <ATen/core/Tensor.h>

#include "espalier/model/model.h"
#include "espalier/plan/plan.h"

namespace espalier {

// A new model of the kept units' rows and columns; tensors that lose nothing are shared with `model`, unless residual
// channels go: that rescales every norm. A block that keeps no groups or no channels has no such sublayer any more.
// RecipeError when the plan does not fit the model.
Model Cut(const Model& model, const Plan& plan);

// The original sizes, with everything that goes (plan/ledger.h) set to zero.
Model Mask(const Model& model, const Plan& plan);

// max |a - b| / max |b| of the logits of `cut` and `masked` on ids [B, T]: what every run checks before it goes on.
// Above `limit` it is measured again in float64, since a model that lost too much may magnify rounding; NumericError
// when that is above it too.
double CheckCutEqualsMask(const Model& cut, const Model& masked, const at::Tensor& ids, double limit);

// The input columns of `consumer`, w_o or w_down of a block, that stay under the plan, whichever kinds of units took
// the others; ascending. For many blocks at once make one LedgerOf(model, plan).
std::vector<int64_t> KeptColumns(const Model& model, const Plan& plan, int64_t block, Role consumer);

}  // namespace espalier
