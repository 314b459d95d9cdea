#pragma once
// What evaluators of a text share: which text, which preset, in which windows, and how a result says so.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "espalier/evaluate/evaluator.h"
#include "espalier/evaluate/preset.h"

namespace espalier {

// data, first_document, last_document, label.
std::vector<OptionSpec> LabelledTextOptions();
struct LabelledText {
  TextSource source;
  std::string label;  // its name in tables
};
LabelledText LabelledTextFrom(const Options& options);

// preset, data, first_document, last_document, label, windows, window, stride, sinks.
std::vector<OptionSpec> TextProtocolOptions();

struct PreparedText {
  std::string corpus_sha256;
  ScoredText text;
  int64_t scored = 0;  // predictions that count
};

class TextProtocol {
 public:
  // RecipeError when the options contradict the preset.
  explicit TextProtocol(const Options& options);

  const std::string& preset() const { return preset_name_; }
  const TextSource& source() const { return text_.source; }
  // "wikitext-2", "wikitext-2-strided": what a result's id ends with.
  std::string Name() const;
  // RecipeError when so few predictions are scored that they say nothing.
  PreparedText Prepare(const Tokenizer& tokenizer) const;
  // Of a result: what makes its figures comparable, in display order.
  std::vector<std::pair<std::string, std::string>> Entries(const EvaluationInput& input,
                                                           const PreparedText& prepared) const;

 private:
  std::string preset_name_;
  std::unique_ptr<PerplexityPreset> preset_;
  PresetOptions options_;
  LabelledText text_;
};

// Calls `score` with batches of windows of one shape, tokens [B, T] int64 and the first scored place, in text order; it
// returns what stands beside the progress bar.
using ScoreWindows = std::function<std::string(const at::Tensor& tokens, int64_t first_scored)>;
// With `comm`, only this rank's share of the batches, which are the same whatever the number of ranks.
void ForEachBatch(const ScoredText& text, const std::string& title, const ScoreWindows& score,
                  const Comm* comm = nullptr);

}  // namespace espalier
