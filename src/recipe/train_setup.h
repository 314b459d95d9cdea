#pragma once
// What a training recipe says, as the structs that training takes.
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "espalier/analyze/analyze.h"
#include "espalier/heal/trainer.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/config.h"
#include "espalier/recipe/recipe.h"

namespace espalier {

struct TrainData {
  std::unique_ptr<Tokenizer> tokenizer;  // of bytes
  at::Tensor windows;                    // [S, length] int64; the last validation_windows are held out
  double optimal_loss = 0;               // NaN where it is not known
  std::string description, sha256;
};

// RecipeError when the text is too short.
TrainData MakeTrainData(const Recipe& recipe);
// RecipeError naming a combination that has no meaning.
ModelConfig ConfigOf(const Recipe& recipe, int64_t vocabulary);
HealOptions HealOptionsOf(const Recipe& recipe, uint64_t seed, at::Device device);
AnalyzeOptions AnalyzeOptionsOf(const Recipe& recipe);

}  // namespace espalier
