#pragma once
// Untrained models of any configuration.
#include <cstdint>

#include "espalier/model/model.h"

namespace espalier {

// float32 on the CPU, bitwise the same for the same configuration and seed: weights normal with deviation 0.02, those
// that write to the residual stream (w_o, w_down) with 0.02 / sqrt(2L) (GPT-2), norms the identity, DynamicTanh with
// alpha 0.5 (arXiv 2503.10622), gate and sink logits 0 (arXiv 2505.06708, Table 4), key and value biases normal with
// 0.02 (arXiv 2402.17762). No linear layer has a bias. A tensor's start depends on its name, not on which others the
// model has: variants that share a part start from the same one. RecipeError as CheckVariants.
Model NewModel(const ModelConfig& config, uint64_t seed);

// Parameters of the model that the configuration describes, without allocating it; a tied head counts once.
int64_t CountParameters(const ModelConfig& config);

}  // namespace espalier
