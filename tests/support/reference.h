#pragma once
// A decoder written a second time, by token and by head, as slow as it is plain: what the forward pass is held against.
#include <ATen/core/Tensor.h>

#include "espalier/model/model.h"

namespace espalier {

// Logits [T, V] of one sequence ids [T]. Even heads, no windows, no biases, no embedding scale.
at::Tensor ReferenceLogits(const Model& model, const at::Tensor& ids);

}  // namespace espalier
