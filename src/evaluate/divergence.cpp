// How far the predictions of a model are from those of the one it came from, token by token: the figures of llama.cpp's
// --kl-divergence (tools/perplexity), with intervals. KL(p || q) = sum_v p_v log(p_v / q_v), p the base's prediction
// and q the model's, nats.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/evaluate/bootstrap.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/forward.h"
#include "text_protocol.h"

namespace espalier {
namespace {

constexpr int64_t kRows = 256;  // logits of so many tokens exist at a time, of both models
constexpr double kPercentiles[] = {0.1, 1, 5, 10, 50, 90, 95, 99, 99.9};

// Of each scored token, float32: [tokens].
struct PerToken {
  std::vector<at::Tensor> kl, same_top, base_nll, nll;

  // Predictions from hidden states [N, C] of both models, for targets [N].
  void Add(const Model& base, const Model& model, const at::Tensor& base_hidden, const at::Tensor& hidden,
           const at::Tensor& targets) {
    for (int64_t row = 0; row < targets.size(0); row += kRows) {
      const int64_t rows = std::min(kRows, targets.size(0) - row);
      const at::Tensor log_p = LogSoftmax(base, base_hidden.narrow(0, row, rows));
      const at::Tensor log_q = LogSoftmax(model, hidden.narrow(0, row, rows));
      const at::Tensor target = targets.narrow(0, row, rows).unsqueeze(1);
      same_top.push_back(log_p.argmax(1).eq(log_q.argmax(1)).to(at::kFloat).cpu());
      base_nll.push_back(log_p.gather(1, target).squeeze(1).neg().cpu());
      nll.push_back(log_q.gather(1, target).squeeze(1).neg().cpu());
      kl.push_back((log_p - log_q).mul_(log_p.exp()).sum(1).clamp_min(0).cpu());  // rounding alone is below 0
    }
  }

 private:
  static at::Tensor LogSoftmax(const Model& model, const at::Tensor& hidden) {
    return at::log_softmax(at::linear(hidden, model.Head()).to(at::kFloat), -1);
  }
};

class Divergence final : public Evaluator {
 public:
  explicit Divergence(const Options& options) : protocol_(options) {
    if (options.Text("preset") == "streaming")
      throw RecipeError("divergence: preset streaming runs one model at a time; expected a preset of windows");
  }

  std::string Id() const override { return "divergence-" + protocol_.Name(); }
  std::optional<TextSource> Text() const override { return protocol_.source(); }
  bool NeedsBase() const override { return true; }
  std::vector<std::string> Figures(bool compared) const override {
    if (!compared) return {};
    return {"kl", "kl_max", "same_top", "delta_p", "delta_p_rms", "log_perplexity_ratio", "log_p_correlation"};
  }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const PreparedText prepared = protocol_.Prepare(input.tokenizer);
    Results results;
    results.id = Id();
    results.suite = "divergence";
    results.model = input.model_name;
    results.protocol = protocol_.Entries(input, prepared);
    if (input.base != nullptr) AddMetrics(Measure(input, prepared.text), results);
    return results;
  }

 private:
  PerToken Measure(const EvaluationInput& input, const ScoredText& text) const {
    if (input.base->embedding.size(0) != input.model.embedding.size(0))
      throw ShapeError(fmt::format("{}: the base predicts {} tokens, this model {}; expected one vocabulary", Id(),
                                   input.base->embedding.size(0), input.model.embedding.size(0)));
    const at::NoGradGuard no_grad;
    PerToken tokens;
    double sum = 0;
    int64_t done = 0;
    ForEachBatch(text, fmt::format("{} {}", input.model_name, Id()), [&](const at::Tensor& rows, int64_t scored) {
      const at::Tensor ids = rows.to(input.model.device());
      const auto hidden = [&](const Model& model) {
        return HiddenStates(model, ids).slice(1, scored - 1, -1).flatten(0, 1);
      };
      const size_t before = tokens.kl.size();
      tokens.Add(*input.base, input.model, hidden(*input.base), hidden(input.model), ids.slice(1, scored).flatten());
      for (size_t i = before; i < tokens.kl.size(); ++i) {
        sum += tokens.kl[i].sum(at::kDouble).item<double>();
        done += tokens.kl[i].numel();
      }
      if (!std::isfinite(sum))
        throw NumericError(fmt::format("{} {}: not finite after {} tokens", input.model_name, Id(), done));
      return fmt::format("KL {:.4f}", sum / static_cast<double>(done));
    });
    return tokens;
  }

  static void AddMean(const std::string& name, const at::Tensor& values, Results& results) {
    const at::Tensor own = values.contiguous();
    const Interval interval = BootstrapMean({own.data_ptr<float>(), static_cast<size_t>(own.numel())});
    results.metrics.push_back({name, interval.mean, "", own.numel(), interval.low, interval.high, "base"});
  }

  static void AddPercentiles(const std::string& name, const at::Tensor& values, Results& results) {
    const at::Tensor sorted = std::get<0>(values.sort());
    const int64_t n = sorted.numel();
    const auto add = [&](const std::string& which, int64_t i) {
      results.metrics.push_back({fmt::format("{}_{}", name, which), sorted[i].item<float>(), "", n, {}, {}, "base"});
    };
    add("min", 0);
    for (const double percent : kPercentiles)
      add(fmt::format("p{:g}", percent), std::llround(percent / 100 * static_cast<double>(n - 1)));
    add("max", n - 1);
  }

  static void AddMetrics(const PerToken& tokens, Results& results) {
    const at::Tensor kl = at::cat(tokens.kl), base_nll = at::cat(tokens.base_nll), nll = at::cat(tokens.nll);
    AddMean("kl", kl, results);
    AddPercentiles("kl", kl, results);
    AddMean("same_top", at::cat(tokens.same_top), results);
    const at::Tensor delta_p = (-nll).exp() - (-base_nll).exp();  // of the token that follows in the text
    AddMean("delta_p", delta_p, results);
    results.metrics.push_back({"delta_p_rms",
                               std::sqrt(delta_p.square().mean(at::kDouble).item<double>()),
                               "",
                               delta_p.numel(),
                               {},
                               {},
                               "base"});
    AddPercentiles("delta_p", delta_p, results);
    AddMean("log_perplexity_ratio", nll - base_nll, results);
    const at::Tensor both = at::corrcoef(at::stack({base_nll, nll}).to(at::kDouble));
    results.metrics.push_back({"log_p_correlation", both[0][1].item<double>(), "", nll.numel(), {}, {}, "base"});
  }

  TextProtocol protocol_;
};

const bool kRegistered = Registry<Evaluator>::Register(
    {"divergence",
     "KL divergence from the base's predictions, same top token, change of the right token's probability",
     "llama.cpp, tools/perplexity --kl-divergence",
     {},
     TextProtocolOptions()},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<Divergence>(options); });

}  // namespace
}  // namespace espalier
