// Overlapping windows, as Hugging Face's guide "Perplexity of fixed-length models" has them: each token but the first
// is scored once, with at least window - stride tokens of context after the first window.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/evaluate/preset.h"

namespace espalier {
namespace {

constexpr int64_t kWindow = 2048;

class Strided final : public PerplexityPreset {
 public:
  std::string Suffix() const override { return "-strided"; }

  void Check(const PresetOptions& options) const override {
    if (options.stride >= options.window.value_or(kWindow))
      throw RecipeError(
          fmt::format("perplexity: stride {} is not smaller than the window {}; the first token of each window would "
                      "never be scored",
                      options.stride, options.window.value_or(kWindow)));
  }

  ScoredText Prepare(const Tokenizer& tokenizer, const Corpus& corpus, const PresetOptions& options) const override {
    ScoredText text;
    text.ids = EncodeText(tokenizer, GptqText(corpus));
    text.window = options.window.value_or(kWindow);
    text.stride = options.stride;
    text.windows = StridedWindows(text.ids.size(0), text.window, options.stride, options.limit);
    text.bos = BosText(tokenizer);
    return text;
  }
};

const bool kRegistered = Registry<PerplexityPreset>::Register(
    {"strided",
     "Windows that start every `stride` tokens; each token scored once",
     "Hugging Face's perplexity guide",
     {},
     {}},
    [](const Options&) -> std::unique_ptr<PerplexityPreset> { return std::make_unique<Strided>(); });

}  // namespace
}  // namespace espalier
