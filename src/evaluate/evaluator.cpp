#include "espalier/evaluate/evaluator.h"

#include <fmt/format.h>

namespace espalier {

void CheckTokenizer(const Tokenizer& tokenizer, const Model& model) {
  if (tokenizer.vocabulary_size() > model.config.V)
    throw IoError(
        fmt::format("tokenizer: {} entries, the model's vocabulary has {}; this tokenizer belongs to another model",
                    tokenizer.vocabulary_size(), model.config.V));
}

}  // namespace espalier
