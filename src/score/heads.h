#pragma once
// From figures of query heads to figures of units.
#include <ATen/core/Tensor.h>

#include <string_view>

#include "espalier/score/scorer.h"

namespace espalier {

// Whether a figure of heads says something about units of this kind: query_head and kv_group.
bool MadeOfHeads(UnitKind kind);

// of_heads [H] -> [units, 1]: of a KV group the mean over its query heads. ShapeError naming `scorer` when H is another
// than the model's.
at::Tensor HeadsToUnits(const ScoreInput& input, std::string_view scorer, const at::Tensor& of_heads);

}  // namespace espalier
