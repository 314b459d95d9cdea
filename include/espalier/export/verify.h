#pragma once
// What was written is read again and compared with what it came from, before a command says that it is done.
#include <filesystem>
#include <string>

#include "espalier/export/gguf.h"
#include "espalier/model/model.h"

namespace espalier {

// max |a - b| / max |b| of the logits on a fixed batch of ids. Both float32 on the CPU.
double LogitDifference(const Model& a, const Model& b);

// NumericError when the logits differ by more than rounding (1e-4); `what` is named. Returns the difference.
double CheckSameLogits(const Model& written, const Model& source, const std::string& what);

// The file holds, bit by bit, the carrier's tensors in their types, and read as a model gives its logits: as exactly as
// float32 where all matrices are F32, finite ones otherwise. The carrier's logits are the source's. One line of what
// was seen; NumericError or IoError otherwise.
std::string VerifyGguf(const std::filesystem::path& file, const GgufCarrier& carrier,
                       const std::vector<GgufEntry>& entries, const Model& source);
// RecipeError when a tokenizer of `tokens` tokens cannot be that of a model of `vocabulary` embeddings: more, or not as
// many where a file states both.
void CheckVocabulary(int64_t tokens, int64_t vocabulary, const std::filesystem::path& tokenizer);
// The same text gives the same ids.
void VerifyTokenizer(const std::filesystem::path& written, const std::filesystem::path& source);

}  // namespace espalier
