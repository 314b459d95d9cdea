#pragma once
// Plans made one after the other, as one plan of the model that the first was made of.
#include "espalier/plan/plan.h"
#include "espalier/protect/rule.h"

namespace espalier {

// `first` is of a model, `second` of that model cut to `first`; both list the same kinds. Removes what both remove, in
// the numbering of the model: Cut(Cut(model, first), second) has the tensors of Cut(model, Compose(first, second)) when
// nothing is compensated (up to the rescaling of norms where residual channels go). Costs are those before the first
// and after the second; a protected unit would have been cut when either plan would have. RecipeError when `second` is
// not of the cut model, or lists other kinds.
Plan Compose(const Plan& first, const Plan& second);

// Protections of `model` in the numbering of that model cut to `plan`. Units of which nothing is left are left out.
std::vector<Protection> Renumber(const Model& model, const Plan& plan, const std::vector<Protection>& protections);

}  // namespace espalier
