// llama.cpp's llama-perplexity: the whole file tokenized once (less one newline at its end), chunks of n_ctx = 512 that
// do not overlap, BOS written over the first token of each where the model wants BOS, and only the second half of each
// chunk scored: n_ctx - 1 - n_ctx / 2 predictions. Its +- takes tokens as independent.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/evaluate/preset.h"

namespace espalier {
namespace {

constexpr int64_t kChunk = 512;

// What the program reads of the file.
std::string ReadText(const Corpus& corpus) {
  if (corpus.source.path.extension() == ".jsonl") return GptqText(corpus);
  std::string text = corpus.documents.at(0);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class LlamaCpp final : public PerplexityPreset {
 public:
  std::string Suffix() const override { return "-llama.cpp"; }

  void Check(const PresetOptions& options) const override {
    if (options.window && *options.window % 2 != 0)
      throw RecipeError(fmt::format(
          "perplexity: window {}: preset llama.cpp scores half of each chunk; use an even one", *options.window));
  }

  ScoredText Prepare(const Tokenizer& tokenizer, const Corpus& corpus, const PresetOptions& options) const override {
    ScoredText text;
    text.window = options.window.value_or(kChunk);
    text.ids = EncodeText(tokenizer, ReadText(corpus));
    text.windows = GptqWindows(text.ids.size(0), text.window, options.limit);
    const bool bos = tokenizer.adds_bos() && tokenizer.bos();
    for (ScoredWindow& window : text.windows) {
      if (bos) text.ids[window.begin] = *tokenizer.bos();
      window.first_scored = window.begin + text.window / 2 + 1;
    }
    text.bos = bos ? "in place of the first token of each chunk" : "none";
    text.plus_minus = true;
    return text;
  }
};

const bool kRegistered = Registry<PerplexityPreset>::Register(
    {"llama.cpp",
     "Chunks of 512, the second half of each scored, +- as if tokens were independent",
     "llama.cpp, tools/perplexity",
     {},
     {}},
    [](const Options&) -> std::unique_ptr<PerplexityPreset> { return std::make_unique<LlamaCpp>(); });

}  // namespace
}  // namespace espalier
