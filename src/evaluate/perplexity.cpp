// Perplexity under a named protocol. The five in use differ by up to 2x on one model: the preset is part of the result.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "espalier/core/log.h"
#include "espalier/evaluate/bootstrap.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/evaluate/losses.h"
#include "espalier/evaluate/preset.h"
#include "espalier/io/text.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

constexpr int64_t kMinScored = 1024;    // fewer predictions say nothing; an interval needs blocks
constexpr int64_t kTokensAPass = 2048;  // short windows of one shape run together

// Windows that can be fed as one batch: same length, same scored part.
bool SameShape(const ScoredWindow& a, const ScoredWindow& b) {
  return a.end - a.begin == b.end - b.begin && a.first_scored - a.begin == b.first_scored - b.begin;
}

class Perplexity final : public Evaluator {
 public:
  explicit Perplexity(const Options& options)
      : preset_name_(options.Text("preset")),
        preset_(Registry<PerplexityPreset>::Create(preset_name_)),
        source_(TextSourceOf(options)),
        label_(options.Has("label") ? options.Text("label") : source_.path.stem().string()) {
    if (options.Has("window")) preset_options_.window = options.Int("window");
    preset_options_.stride = options.Int("stride");
    preset_options_.limit = options.Int("windows");
    preset_->Check(preset_options_);
  }

  std::string Id() const override { return fmt::format("perplexity-{}{}", label_, preset_->Suffix()); }
  std::optional<TextSource> Text() const override { return source_; }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const Corpus corpus = ReadCorpus(source_);
    const ScoredText text = preset_->Prepare(input.tokenizer, corpus, preset_options_);
    const at::Tensor nll = Score(input, text);
    SaveLosses(input.folder, Id(), {nll, text.documents});
    Results results;
    results.id = Id();
    results.suite = "perplexity";
    results.model = input.model_name;
    results.protocol = Protocol(input, corpus, text, nll.numel());
    AddMetrics(input, text, nll, results);
    return results;
  }

 private:
  static TextSource TextSourceOf(const Options& options) {
    TextSource source{options.Text("data"), options.Int("first_document"), std::nullopt};
    if (options.Has("last_document")) source.last_document = options.Int("last_document");
    return source;
  }

  void CheckLength(const ScoredText& text) const {
    int64_t scored = 0;
    for (const ScoredWindow& window : text.windows) scored += window.end - window.first_scored;
    if (scored < kMinScored)
      throw RecipeError(fmt::format(
          "{}: {} tokens give {} scored predictions in windows of {}, expected at least {}; use a longer text",
          source_.path.string(), text.ids.size(0), scored, text.window, kMinScored));
  }

  // Losses of windows [first, last), which are of one shape: [their scored tokens] in text order.
  static at::Tensor ScoreTogether(const Model& model, const ScoredText& text, size_t first, size_t last) {
    std::vector<at::Tensor> rows;
    for (size_t i = first; i < last; ++i) rows.push_back(text.ids.slice(0, text.windows[i].begin, text.windows[i].end));
    const at::Tensor tokens = at::stack(rows).to(model.device());  // [B, T]
    const int64_t scored = text.windows[first].first_scored - text.windows[first].begin;
    const at::Tensor hidden = HiddenStates(model, tokens).slice(1, scored - 1, -1);  // predict from the place before
    return TokenNll(model, hidden.flatten(0, 1), tokens.slice(1, scored).flatten()).cpu();
  }

  at::Tensor Score(const EvaluationInput& input, const ScoredText& text) const {
    CheckLength(text);
    const at::NoGradGuard no_grad;
    const std::vector<ScoredWindow>& windows = text.windows;
    Progress progress(fmt::format("{} {}", input.model_name, Id()), static_cast<int64_t>(windows.size()));
    std::vector<at::Tensor> parts;
    double sum = 0;
    int64_t done = 0;
    for (size_t first = 0, last = 0; first < windows.size(); first = last) {
      const int64_t length = windows[first].end - windows[first].begin;
      for (last = first + 1; last < windows.size() && SameShape(windows[first], windows[last]) &&
                             static_cast<int64_t>(last + 1 - first) * length <= kTokensAPass;)
        ++last;
      const at::Tensor nll = ScoreTogether(input.model, text, first, last);
      sum += nll.sum(at::kDouble).item<double>();
      done += nll.numel();
      if (!std::isfinite(sum))
        throw NumericError(
            fmt::format("{} {}: the loss is not finite at token {}", input.model_name, Id(), windows[first].begin));
      parts.push_back(nll);
      progress.Step(static_cast<int64_t>(last - first),
                    fmt::format("perplexity {:.3f}", std::exp(sum / static_cast<double>(done))));
    }
    return at::cat(parts);
  }

  std::vector<std::pair<std::string, std::string>> Protocol(const EvaluationInput& input, const Corpus& corpus,
                                                            const ScoredText& text, int64_t scored) const {
    std::vector<std::pair<std::string, std::string>> protocol = {{"preset", preset_name_},
                                                                 {"window", std::to_string(text.window)}};
    if (preset_name_ == "strided") protocol.emplace_back("stride", std::to_string(preset_options_.stride));
    protocol.insert(protocol.end(), {{"windows", std::to_string(text.windows.size())},
                                     {"bos", text.bos},
                                     {"corpus", label_},
                                     {"corpus_sha256", corpus.sha256},
                                     {"corpus_tokens", std::to_string(text.ids.size(0))},
                                     {"scored_tokens", std::to_string(scored)}});
    if (text.words) protocol.emplace_back("words", std::to_string(*text.words));
    if (text.bytes) protocol.emplace_back("bytes", std::to_string(*text.bytes));
    protocol.insert(protocol.end(),
                    {{"tokenizer_sha256", input.tokenizer.Fingerprint()},
                     {"dtype", std::string(DtypeName(input.model.dtype()))},
                     {"attention", "scaled_dot_product_attention"},
                     {"interval", "95 %, moving-block bootstrap, blocks of 512 tokens, 2000 resamples"}});
    return protocol;
  }

  // Per word and per byte of the text as it was before detokenizing (lm-eval): exp and log2 of -log p over them.
  static void AddPerWordAndByte(const ScoredText& text, double nats, Results& results) {
    if (!text.words || !text.bytes) return;
    const auto words = static_cast<double>(*text.words), bytes = static_cast<double>(*text.bytes);
    results.metrics.push_back({"word_perplexity", std::exp(nats / words), "", *text.words, {}, {}, ""});
    results.metrics.push_back({"byte_perplexity", std::exp(nats / bytes), "", *text.bytes, {}, {}, ""});
    results.metrics.push_back({"bits_per_byte", nats / bytes / std::numbers::ln2, "bits", *text.bytes, {}, {}, ""});
  }

  // llama.cpp's +-: ppl sqrt((mean of squares - square of mean) / (n - 1)), tokens taken as independent.
  static void AddPlusMinus(const at::Tensor& nll, double perplexity, Results& results) {
    const at::Tensor wide = nll.to(at::kDouble);
    const double error = std::sqrt(wide.var(/*unbiased=*/false).item<double>() / static_cast<double>(nll.numel() - 1));
    results.metrics.push_back({"perplexity_plus_minus", perplexity * error, "", nll.numel(), {}, {}, ""});
  }

  void AddMetrics(const EvaluationInput& input, const ScoredText& text, const at::Tensor& nll, Results& results) const {
    const auto values = [](const at::Tensor& t) {
      return std::span<const float>(t.data_ptr<float>(), static_cast<size_t>(t.numel()));
    };
    const Interval own = BootstrapExpMean(values(nll));
    results.metrics.push_back({"perplexity", own.mean, "", nll.numel(), own.low, own.high, ""});
    AddPerWordAndByte(text, nll.sum(at::kDouble).item<double>(), results);
    if (text.plus_minus) AddPlusMinus(nll, own.mean, results);
    if (!input.dense) return;
    const at::Tensor dense = LoadLosses(*input.dense, Id()).each;
    if (dense.numel() != nll.numel())
      throw IoError(fmt::format("{}: {} tokens, this evaluation has {}; evaluate the dense model again",
                                LossesPath(*input.dense, Id()).string(), dense.numel(), nll.numel()));
    const at::Tensor difference = (nll - dense).contiguous();
    const Interval ratio = BootstrapExpMean(values(difference));
    results.metrics.push_back({"perplexity_ratio", ratio.mean, "", nll.numel(), ratio.low, ratio.high, "dense"});
  }

  std::string preset_name_;
  std::unique_ptr<PerplexityPreset> preset_;
  PresetOptions preset_options_;
  TextSource source_;
  std::string label_;
};

const bool kRegistered = Registry<Evaluator>::Register(
    {"perplexity",
     "exp of the mean negative log-likelihood a token, per-token values kept, interval by block bootstrap",
     "each preset names its own: espalier list \"perplexity preset\"",
     {},
     {TextOption("preset", "gptq-2048", "Protocol: gptq-2048, strided, llama.cpp, lm-eval"),
      TextOption("data", std::nullopt,
                 "Text file: .raw or .txt (rows joined by two newlines), .jsonl (documents joined by a space)"),
      IntOption("first_document", 0, "First document used, counted from 0").AtLeast(0),
      IntOption("last_document", std::nullopt, "Document after the last one used; default: to the end")
          .AtLeast(1)
          .Optional(),
      TextOption("label", std::nullopt, "Name of the corpus in tables; default: the file's stem").Optional(),
      IntOption("windows", 0, "At most this many windows (lm-eval: documents); 0: all").AtLeast(0),
      IntOption("window", std::nullopt, "Tokens a window; default: the preset's (gptq-2048 has no other)")
          .Between(8, 1 << 20)
          .Optional(),
      IntOption("stride", 512, "Tokens between window starts (strided only)").Between(1, 1 << 20)}},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<Perplexity>(options); });

}  // namespace
}  // namespace espalier
