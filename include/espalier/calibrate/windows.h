#pragma once
// Token windows for calibration, analysis and healing.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "espalier/core/options.h"
#include "espalier/io/text.h"

namespace espalier {

class Tokenizer;

// The options of a text source in a recipe: path, under the name `key`, and document range.
std::vector<OptionSpec> TextSourceOptions(const std::string& key = "path");
TextSource TextSourceFrom(const Options& options, std::string_view key = "path");

// Documents in an order that depends on the seed, each tokenized, joined by the tokens of two newlines and cut into
// consecutive windows: [sequences, length] int64 on the CPU. With `sequences` 0, as many as the text gives.
// RecipeError when the text is too short, saying how many tokens there are and were asked for.
at::Tensor PackWindows(const Tokenizer& tokenizer, const Corpus& corpus, int64_t sequences, int64_t length,
                       uint64_t seed);

// `sequences` of the windows that the whole text gives (PackWindows), drawn by the seed: many more documents have a
// part than when the first windows of the text are taken. RecipeError as above.
at::Tensor SpreadWindows(const Tokenizer& tokenizer, const Corpus& corpus, int64_t sequences, int64_t length,
                         uint64_t seed);

// The same of a text that is tokens already: a safetensors file with one tensor `ids` of int32 or int64, [N] or
// [sequences, any]; all of its consecutive windows. IoError naming the file when there is no such tensor, an id is not
// of the vocabulary of V tokens, or there is no whole window.
at::Tensor WindowsOfIds(const std::filesystem::path& path, int64_t length, int64_t V);

}  // namespace espalier
