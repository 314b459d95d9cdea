// The task `wikitext` of EleutherAI's lm-evaluation-harness: each page detokenized and scored by itself, in rolling
// windows with one prefix token (BOS, else EOS) before the first; every token is scored once, with as much context as
// the window holds. Words and bytes are counted in the text before detokenizing.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/evaluate/preset.h"
#include "wikitext_pages.h"

namespace espalier {
namespace {

constexpr int64_t kWindow = 2048;

class LmEval final : public PerplexityPreset {
 public:
  std::string Suffix() const override { return "-lm-eval"; }
  void Check(const PresetOptions&) const override {}

  ScoredText Prepare(const Tokenizer& tokenizer, const Corpus& corpus, const PresetOptions& options) const override {
    const std::optional<int32_t> prefix = PrefixToken(tokenizer);
    if (!prefix)
      throw RecipeError("perplexity: preset lm-eval needs a prefix token, and this tokenizer has neither BOS nor EOS");
    std::vector<std::string> pages = Pages(corpus);
    if (options.limit > 0 && options.limit < std::ssize(pages)) pages.resize(static_cast<size_t>(options.limit));
    ScoredText text;
    text.window = options.window.value_or(kWindow);
    text.bos = tokenizer.bos() ? "before each document" : "EOS before each document";
    text.words = text.bytes = 0;
    std::vector<std::string> plain;
    for (const std::string& page : pages) {
      *text.words += CountWords(page);
      *text.bytes += std::ssize(page);
      plain.push_back(WikitextDetokenize(page));
    }
    std::vector<int64_t> ids, documents;
    int64_t scored = 0;
    for (const std::vector<int32_t>& document : EncodeDocuments(tokenizer, plain)) {
      if (document.empty()) continue;
      documents.push_back(scored);
      scored += std::ssize(document);
      for (const ScoredWindow& window : RollingWindows(std::ssize(document), text.window))
        text.windows.push_back(
            {window.begin + std::ssize(ids), window.end + std::ssize(ids), window.first_scored + std::ssize(ids)});
      ids.push_back(*prefix);
      ids.insert(ids.end(), document.begin(), document.end());
    }
    text.ids = at::tensor(ids, at::kLong);
    text.documents = at::tensor(documents, at::kLong);
    return text;
  }

 private:
  // A .jsonl has its documents; a raw file of WikiText its pages.
  static std::vector<std::string> Pages(const Corpus& corpus) {
    if (corpus.source.path.extension() == ".jsonl") return corpus.documents;
    return WikitextPages(corpus.documents.at(0));
  }
};

const bool kRegistered = Registry<PerplexityPreset>::Register(
    {"lm-eval",
     "Pages detokenized and scored by themselves in rolling windows; word and byte perplexity, bits per byte",
     "lm-evaluation-harness, task wikitext",
     {},
     {}},
    [](const Options&) -> std::unique_ptr<PerplexityPreset> { return std::make_unique<LmEval>(); });

}  // namespace
}  // namespace espalier
