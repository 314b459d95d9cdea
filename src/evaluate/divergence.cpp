// How far the predictions of a model are from those of the one it came from, token by token: the figures of llama.cpp's
// --kl-divergence (tools/perplexity), with intervals. KL(p || q) = sum_v p_v log(p_v / q_v), p the base's prediction
// and q the model's, nats.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "divergence_figures.h"
#include "espalier/core/error.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/forward.h"
#include "text_protocol.h"

namespace espalier {
namespace {

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
    return compared ? TokenDivergence::Figures() : std::vector<std::string>();
  }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const PreparedText prepared = protocol_.Prepare(input.tokenizer);
    Results results;
    results.id = Id();
    results.suite = "divergence";
    results.model = input.model_name;
    results.protocol = protocol_.Entries(input, prepared);
    if (input.base != nullptr) Measure(input, prepared.text).AddMetrics(results);
    return results;
  }

 private:
  TokenDivergence Measure(const EvaluationInput& input, const ScoredText& text) const {
    if (input.base->embedding.size(0) != input.model.embedding.size(0))
      throw ShapeError(fmt::format("{}: the base predicts {} tokens, this model {}; expected one vocabulary", Id(),
                                   input.base->embedding.size(0), input.model.embedding.size(0)));
    const at::NoGradGuard no_grad;
    TokenDivergence tokens;
    ForEachBatch(text, fmt::format("{} {}", input.model_name, Id()), [&](const at::Tensor& rows, int64_t scored) {
      const at::Tensor ids = rows.to(input.model.device());
      const auto hidden = [&](const Model& model) {
        return HiddenStates(model, ids).slice(1, scored - 1, -1).flatten(0, 1);
      };
      const at::Tensor base = hidden(*input.base), own = hidden(input.model), targets = ids.slice(1, scored).flatten();
      for (int64_t row = 0; row < targets.size(0); row += kDivergenceRows) {
        const auto part = [row](const at::Tensor& all) { return all.slice(0, row, row + kDivergenceRows); };
        tokens.Add(LogProbabilities(*input.base, part(base)), LogProbabilities(input.model, part(own)), part(targets));
      }
      if (!tokens.Finite())
        throw NumericError(fmt::format("{} {}: not finite after {} tokens", input.model_name, Id(), tokens.tokens()));
      return fmt::format("KL {:.4f}", tokens.MeanKl());
    });
    return tokens;
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
