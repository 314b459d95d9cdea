#pragma once
// What stock transformers asks of a model whose blocks are alike.
#include "espalier/model/model.h"

namespace espalier {

// The model as a class of transformers holds it: every bias that its flags imply is there (zeros where the model has
// none), and a Qwen2 or Mistral with other biases than its class has is a Llama, which computes the same. RecipeError
// naming what no class holds: biases of the FFN outside Llama, windows with biases.
Model ForStockTransformers(const Model& uniform);

}  // namespace espalier
