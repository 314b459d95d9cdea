// Perplexity under a named protocol. The five in use differ by up to 2x on one model: the preset is part of the result.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>

#include "espalier/core/log.h"
#include "espalier/evaluate/bootstrap.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/evaluate/token_nll.h"
#include "espalier/evaluate/windows.h"
#include "espalier/io/text.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

constexpr int64_t kGptqWindow = 2048;  // GPTQ's, and of everybody who copied its loader
constexpr int64_t kMinScored = 1024;   // fewer predictions say nothing; an interval needs blocks

class Perplexity final : public Evaluator {
 public:
  explicit Perplexity(const Options& options)
      : strided_(options.Text("preset") == "strided"),
        window_(strided_ ? options.Int("window") : kGptqWindow),
        stride_(options.Int("stride")),
        limit_(options.Int("windows")),
        source_{options.Text("data"), options.Int("first_document"), std::nullopt},
        label_(options.Has("label") ? options.Text("label") : source_.path.stem().string()),
        preset_(options.Text("preset")) {
    if (options.Has("last_document")) source_.last_document = options.Int("last_document");
    if (strided_ && stride_ >= window_)
      throw RecipeError(
          fmt::format("perplexity: stride {} is not smaller than the window {}; the first token of each window would "
                      "never be scored",
                      stride_, window_));
  }

  std::string Id() const override { return fmt::format("perplexity-{}{}", label_, strided_ ? "-strided" : ""); }
  std::optional<TextSource> Text() const override { return source_; }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const Corpus corpus = ReadCorpus(source_);
    const at::Tensor ids = Tokens(input.tokenizer, corpus);
    const std::vector<ScoredWindow> windows =
        strided_ ? StridedWindows(ids.size(0), window_, stride_, limit_) : GptqWindows(ids.size(0), window_, limit_);
    const at::Tensor nll = Score(input, ids, windows);
    SaveTokenLosses(input.folder, Id(), {nll, {}});
    Results results;
    results.id = Id();
    results.suite = "perplexity";
    results.model = input.model_name;
    results.protocol = Protocol(input, corpus, ids.size(0), nll.numel(), static_cast<int64_t>(windows.size()));
    AddMetrics(input, nll, results);
    return results;
  }

 private:
  // One text, tokenized once; BOS at the very start when the tokenizer's convention asks for it.
  static at::Tensor Tokens(const Tokenizer& tokenizer, const Corpus& corpus) {
    std::vector<int32_t> ids = tokenizer.Encode(GptqText(corpus));
    if (tokenizer.adds_bos() && tokenizer.bos()) ids.insert(ids.begin(), *tokenizer.bos());
    return at::tensor(at::ArrayRef<int32_t>(ids), at::kInt).to(at::kLong);
  }

  at::Tensor Score(const EvaluationInput& input, const at::Tensor& ids,
                   const std::vector<ScoredWindow>& windows) const {
    int64_t scored = 0;
    for (const ScoredWindow& window : windows) scored += window.end - window.first_scored;
    if (scored < kMinScored)
      throw RecipeError(fmt::format(
          "{}: {} tokens give {} scored predictions in windows of {}, expected at least {}; use a longer text",
          source_.path.string(), ids.size(0), scored, window_, kMinScored));
    const at::NoGradGuard no_grad;
    Progress progress(fmt::format("{} {}", input.model_name, Id()), static_cast<int64_t>(windows.size()));
    std::vector<at::Tensor> parts;
    double sum = 0;
    int64_t done = 0;
    for (const ScoredWindow& window : windows) {
      const at::Tensor tokens = ids.slice(0, window.begin, window.end).to(input.model.device());
      const at::Tensor hidden = HiddenStates(input.model, tokens.unsqueeze(0)).squeeze(0);  // [T, C]
      const int64_t first = window.first_scored - window.begin;  // predicted from the position before
      const at::Tensor nll = TokenNll(input.model, hidden.slice(0, first - 1, -1), tokens.slice(0, first)).cpu();
      sum += nll.sum(at::kDouble).item<double>();
      done += nll.numel();
      if (!std::isfinite(sum))
        throw NumericError(
            fmt::format("{} {}: the loss is not finite at token {}", input.model_name, Id(), window.begin));
      parts.push_back(nll);
      progress.Step(1, fmt::format("perplexity {:.3f}", std::exp(sum / static_cast<double>(done))));
    }
    return at::cat(parts);
  }

  std::vector<std::pair<std::string, std::string>> Protocol(const EvaluationInput& input, const Corpus& corpus,
                                                            int64_t tokens, int64_t scored, int64_t windows) const {
    std::vector<std::pair<std::string, std::string>> protocol = {
        {"preset", preset_},
        {"window", std::to_string(window_)},
        {"windows", std::to_string(windows)},
        {"bos", input.tokenizer.adds_bos() ? "once, at the start of the text" : "none"},
        {"corpus", label_},
        {"corpus_sha256", corpus.sha256},
        {"corpus_tokens", std::to_string(tokens)},
        {"scored_tokens", std::to_string(scored)},
        {"tokenizer_sha256", input.tokenizer.Fingerprint()},
        {"dtype", std::string(DtypeName(input.model.dtype()))},
        {"attention", "scaled_dot_product_attention"},
        {"interval", "95 %, moving-block bootstrap, blocks of 512 tokens, 2000 resamples"}};
    if (strided_) protocol.insert(protocol.begin() + 2, {"stride", std::to_string(stride_)});
    return protocol;
  }

  void AddMetrics(const EvaluationInput& input, const at::Tensor& nll, Results& results) const {
    const auto values = [](const at::Tensor& t) {
      return std::span<const float>(t.data_ptr<float>(), static_cast<size_t>(t.numel()));
    };
    const Interval own = BootstrapExpMean(values(nll));
    results.metrics.push_back({"perplexity", own.mean, "", nll.numel(), own.low, own.high, ""});
    if (!input.dense) return;
    const at::Tensor dense = LoadTokenLosses(*input.dense, Id()).nll;
    if (dense.numel() != nll.numel())
      throw IoError(fmt::format("{}: {} tokens, this evaluation has {}; evaluate the dense model again",
                                TokenNllPath(*input.dense, Id()).string(), dense.numel(), nll.numel()));
    const at::Tensor difference = (nll - dense).contiguous();
    const Interval ratio = BootstrapExpMean(values(difference));
    results.metrics.push_back({"perplexity_ratio", ratio.mean, "", nll.numel(), ratio.low, ratio.high, "dense"});
  }

  bool strided_;
  int64_t window_, stride_, limit_;
  TextSource source_;
  std::string label_, preset_;
};

const bool kRegistered = Registry<Evaluator>::Register(
    {"perplexity",
     "exp of the mean negative log-likelihood a token, per-token values kept, interval by block bootstrap",
     "presets: GPTQ arXiv 2210.17323 (gptq-2048), Hugging Face's perplexity guide (strided)",
     {},
     {TextOption("preset", "gptq-2048", "Protocol").OneOf({"gptq-2048", "strided"}),
      TextOption("data", std::nullopt,
                 "Text file: .raw or .txt (rows joined by two newlines), .jsonl (documents joined by a space)"),
      IntOption("first_document", 0, "First document used, counted from 0").AtLeast(0),
      IntOption("last_document", std::nullopt, "Document after the last one used; default: to the end")
          .AtLeast(1)
          .Optional(),
      TextOption("label", std::nullopt, "Name of the corpus in tables; default: the file's stem").Optional(),
      IntOption("windows", 0, "At most this many windows; 0: all").AtLeast(0),
      IntOption("window", 2048, "Tokens a window (strided only; gptq-2048 has its own)").Between(8, 1 << 20),
      IntOption("stride", 512, "Tokens between window starts (strided only)").Between(1, 1 << 20)}},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<Perplexity>(options); });

}  // namespace
}  // namespace espalier
