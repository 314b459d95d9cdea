// Perplexity under a named protocol. The five in use differ by up to 2x on one model: the preset is part of the result.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "espalier/comm/share.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/bootstrap.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/evaluate/losses.h"
#include "espalier/model/forward.h"
#include "espalier/model/kv_cache.h"
#include "text_protocol.h"

namespace espalier {
namespace {

class Perplexity final : public Evaluator {
 public:
  explicit Perplexity(const Options& options) : protocol_(options) {}

  std::string Id() const override { return "perplexity-" + protocol_.Name(); }
  std::optional<TextSource> Text() const override { return protocol_.source(); }
  std::vector<std::string> Figures(bool compared) const override {
    std::vector<std::string> figures = {"perplexity"};
    if (protocol_.preset() == "lm-eval")
      figures.insert(figures.end(), {"word_perplexity", "byte_perplexity", "bits_per_byte"});
    if (compared) figures.emplace_back("perplexity_ratio");
    return figures;
  }

  bool Shares() const override { return true; }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const PreparedText prepared = protocol_.Prepare(input.tokenizer);
    if (input.comm != nullptr) input.comm->RequireSame("SHA-256 of the text of " + Id(), prepared.corpus_sha256);
    at::Tensor nll;
    const auto stream = [&] { nll = Stream(input, prepared.text); };
    if (!prepared.text.cache.Drops())
      nll = Score(input, prepared.text);
    else if (input.comm != nullptr)
      WorkTogether(*input.comm, stream);
    else
      stream();
    SaveLosses(input.folder, Id(), {nll, prepared.text.documents});
    Results results;
    results.id = Id();
    results.suite = "perplexity";
    results.model = input.model_name;
    results.protocol = protocol_.Entries(input, prepared);
    AddMetrics(input, prepared.text, nll, results);
    return results;
  }

 private:
  // Losses of the stretches scored so far, in text order.
  class Scored {
   public:
    Scored(const EvaluationInput& input, std::string id) : input_(input), id_(std::move(id)) {}
    // What stands beside the progress bar. NumericError when a loss is not finite.
    std::string Add(const at::Tensor& hidden, const at::Tensor& targets) {  // [N, C], [N]
      const at::Tensor nll = TokenNll(input_.model, hidden, targets).cpu();
      sum_ += nll.sum(at::kDouble).item<double>();
      if (!std::isfinite(sum_))
        throw NumericError(
            fmt::format("{} {}: the loss is not finite after {} scored tokens", input_.model_name, id_, done_));
      done_ += nll.numel();
      parts_.push_back(nll);
      return fmt::format("perplexity {:.3f}", std::exp(sum_ / static_cast<double>(done_)));
    }
    // [scored tokens] float32.
    at::Tensor All() const { return parts_.empty() ? at::empty({0}, at::kFloat) : at::cat(parts_); }

   private:
    const EvaluationInput& input_;
    std::string id_;
    std::vector<at::Tensor> parts_;
    double sum_ = 0;
    int64_t done_ = 0;
  };

  at::Tensor Score(const EvaluationInput& input, const ScoredText& text) const {
    const at::NoGradGuard no_grad;
    Scored scored(input, Id());
    const auto score = [&] {
      ForEachBatch(
          text, fmt::format("{} {}", input.model_name, Id()),
          [&](const at::Tensor& rows, int64_t first) {
            const at::Tensor tokens = rows.to(input.model.device());
            const at::Tensor hidden =
                HiddenStates(input.model, tokens).slice(1, first - 1, -1);  // from the place before
            return scored.Add(hidden.flatten(0, 1), tokens.slice(1, first).flatten());
          },
          input.comm);
    };
    if (input.comm == nullptr) {
      score();
      return scored.All();
    }
    WorkTogether(*input.comm, score);
    return GatherRows(*input.comm, scored.All());
  }

  // One text through a cache that drops tokens, in chunks: nothing to divide, every rank does all of it.
  at::Tensor Stream(const EvaluationInput& input, const ScoredText& text) const {
    const at::NoGradGuard no_grad;
    const int64_t tokens = text.ids.size(0);
    Scored scored(input, Id());
    KvCache cache(input.model, text.cache);
    Progress progress(fmt::format("{} {}", input.model_name, Id()), tokens);
    for (int64_t begin = 0; begin + 1 < tokens; begin += kPrefillChunk) {
      const int64_t end = std::min(begin + kPrefillChunk, tokens - 1);  // the last token predicts nothing
      const at::Tensor ids = text.ids.slice(0, begin, end + 1).to(input.model.device());
      const at::Tensor hidden = HiddenStates(input.model, ids.slice(0, 0, -1).unsqueeze(0), cache).squeeze(0);
      progress.Step(end - begin, scored.Add(hidden, ids.slice(0, 1)));
    }
    return scored.All();
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

  TextProtocol protocol_;
};

const bool kRegistered = Registry<Evaluator>::Register(
    {"perplexity",
     "exp of the mean negative log-likelihood a token, per-token values kept, interval by block bootstrap",
     "each preset names its own: espalier list \"perplexity preset\"",
     {},
     TextProtocolOptions()},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<Perplexity>(options); });

}  // namespace
}  // namespace espalier
