#pragma once
// Output gates from one layout to another (model/gate_layout.h), exactly.
#include <string_view>

#include "espalier/model/model.h"

namespace espalier {

// The same logits with gates stored as "A" (grouped, elementwise), "B" (grouped, headwise) or "C" (per head,
// elementwise). A headwise gate becomes an elementwise one by giving every channel of the head its row; the way back is
// open only to gates whose rows are alike. RecipeError: no such layout, no gates, a family other than qwen3, which
// alone has all three, channels with scores of their own.
Model WithGateLayout(const Model& model, std::string_view layout);

}  // namespace espalier
