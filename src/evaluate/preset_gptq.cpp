// GPTQ, Frantar et al. 2022, arXiv 2210.17323, and all who copied its loader (SparseGPT, Wanda, FLAP): one text,
// tokenized once, windows of 2,048 that do not overlap, the first token of each unscored, the rest dropped.
#include <ATen/ATen.h>

#include "espalier/evaluate/preset.h"

namespace espalier {
namespace {

constexpr int64_t kWindow = 2048;

class Gptq final : public PerplexityPreset {
 public:
  std::string Suffix() const override { return ""; }
  void Check(const PresetOptions& options) const override { RefuseWindow(options, "gptq-2048", kWindow); }

  ScoredText Prepare(const Tokenizer& tokenizer, const Corpus& corpus, const PresetOptions& options) const override {
    ScoredText text;
    text.ids = EncodeText(tokenizer, GptqText(corpus));
    text.windows = GptqWindows(text.ids.size(0), kWindow, options.limit);
    text.window = kWindow;
    text.bos = BosText(tokenizer);
    return text;
  }
};

const bool kRegistered = Registry<PerplexityPreset>::Register(
    {"gptq-2048",
     "Windows of 2,048 that do not overlap, the first token of each unscored",
     "GPTQ, arXiv 2210.17323",
     {},
     {}},
    [](const Options&) -> std::unique_ptr<PerplexityPreset> { return std::make_unique<Gptq>(); });

}  // namespace
}  // namespace espalier
