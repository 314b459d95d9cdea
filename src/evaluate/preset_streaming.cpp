// One long text, each token seeing the first few and the last ones: what StreamingLLM (Xiao et al. 2023, arXiv
// 2309.17453) reports for texts that are longer than any cache.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/evaluate/preset.h"

namespace espalier {
namespace {

constexpr int64_t kWindow = 1024;

class Streaming final : public PerplexityPreset {
 public:
  std::string Suffix() const override { return "-streaming"; }

  void Check(const PresetOptions& options) const override {
    if (options.sinks >= options.window.value_or(kWindow))
      throw RecipeError(fmt::format("perplexity: {} sinks leave no room for recent tokens in a window of {}",
                                    options.sinks, options.window.value_or(kWindow)));
  }

  ScoredText Prepare(const Tokenizer& tokenizer, const Corpus& corpus, const PresetOptions& options) const override {
    ScoredText text;
    text.window = options.window.value_or(kWindow);
    text.ids = EncodeText(tokenizer, GptqText(corpus));
    if (options.limit > 0) text.ids = text.ids.slice(0, 0, options.limit * text.window);
    text.windows = {{0, text.ids.size(0), 1}};
    text.bos = BosText(tokenizer);
    text.cache = {.sinks = options.sinks, .recent = text.window - options.sinks};
    return text;
  }
};

const bool kRegistered = Registry<PerplexityPreset>::Register(
    {"streaming",
     "The whole text as one; each token sees the first `sinks` and the last ones, `window` together",
     "StreamingLLM, arXiv 2309.17453",
     {},
     {}},
    [](const Options&) -> std::unique_ptr<PerplexityPreset> { return std::make_unique<Streaming>(); });

}  // namespace
}  // namespace espalier
