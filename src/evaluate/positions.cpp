// Loss by position in the context: whether a model still gains from text that lies far back. Buckets double in width,
// as the gain from more context falls with its logarithm.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "context.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/bootstrap.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/evaluate/losses.h"
#include "espalier/evaluate/preset.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "text_protocol.h"

namespace espalier {
namespace {

constexpr int64_t kLeastWindows = 8;  // an interval over windows needs them

// Positions [first, last) of a window.
struct Bucket {
  int64_t first, last;
  std::string Name() const {
    return last - first == 1 ? fmt::format("{}", first) : fmt::format("{}-{}", first, last - 1);
  }
};
std::vector<Bucket> Buckets(int64_t length) {
  std::vector<Bucket> buckets;
  for (int64_t first = 1; first < length; first *= 2) buckets.push_back({first, std::min(2 * first, length)});
  return buckets;
}

class Positions final : public Evaluator {
 public:
  explicit Positions(const Options& options)
      : context_(options),
        text_(LabelledTextFrom(options)),
        length_(options.Int("length")),
        windows_(options.Int("windows")) {}

  std::string Id() const override { return "positions-" + text_.label + context_.Suffix(); }
  std::optional<TextSource> Text() const override { return text_.source; }
  std::vector<std::string> Figures(bool compared) const override {
    return compared ? std::vector<std::string>{"late_perplexity", "late_perplexity_ratio"}
                    : std::vector<std::string>{"late_perplexity"};
  }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const Corpus corpus = ReadCorpus(text_.source);
    const at::Tensor ids = EncodeText(input.tokenizer, GptqText(corpus));
    const std::vector<ScoredWindow> windows = GptqWindows(ids.size(0), length_, windows_);
    if (std::ssize(windows) < kLeastWindows)
      throw RecipeError(
          fmt::format("{}: {} tokens are {} windows of {}, expected at least {}; use a longer text or "
                      "shorter windows",
                      text_.source.path.string(), ids.size(0), windows.size(), length_, kLeastWindows));
    const at::Tensor nll = Score(input, ids, windows);  // [windows, length - 1]
    SaveLosses(input.folder, Id(), {nll.flatten(), {}});
    Results results;
    results.id = Id();
    results.suite = "positions";
    results.model = input.model_name;
    results.protocol = {{"window", std::to_string(length_)},
                        {"windows", std::to_string(windows.size())},
                        {"corpus", text_.label},
                        {"corpus_sha256", corpus.sha256},
                        {"bos", BosText(input.tokenizer)},
                        {"tokenizer_sha256", input.tokenizer.Fingerprint()},
                        {"dtype", std::string(DtypeName(input.model.dtype()))},
                        {"interval", "95 %, bootstrap over windows"}};
    for (auto& entry : context_.Entries()) results.protocol.push_back(std::move(entry));
    AddFigures(input, nll, results);
    return results;
  }

 private:
  at::Tensor Score(const EvaluationInput& input, const at::Tensor& ids,
                   const std::vector<ScoredWindow>& windows) const {
    const at::NoGradGuard no_grad;
    const Model model = context_.Of(input.model);
    const CachePolicy policy = context_.PolicyOf(model);
    Progress progress(fmt::format("{} {}", input.model_name, Id()), std::ssize(windows));
    std::vector<at::Tensor> rows;
    for (const ScoredWindow& window : windows) {
      const at::Tensor tokens = ids.slice(0, window.begin, window.end).to(model.device());
      const at::Tensor hidden = HiddenStates(model, tokens.unsqueeze(0), policy).squeeze(0);
      rows.push_back(TokenNll(model, hidden.slice(0, 0, -1), tokens.slice(0, 1)).cpu());
      if (!rows.back().isfinite().all().item<bool>())
        throw NumericError(
            fmt::format("{} {}: the loss is not finite in window {}", input.model_name, Id(), rows.size()));
      progress.Step();
    }
    return at::stack(rows);
  }

  // Means of exp over windows in each bucket of values [windows, length - 1] of losses or of their differences.
  Grid Curve(const std::string& name, const std::string& of, const at::Tensor& values) const {
    Grid grid{name, "", "position", "", {}, {name}, {}, of};
    for (const Bucket& bucket : Buckets(length_)) {
      const at::Tensor means = values.slice(1, bucket.first - 1, bucket.last - 1).mean(1).contiguous();  // [windows]
      const Interval interval =
          BootstrapExpMean({means.data_ptr<float>(), static_cast<size_t>(means.numel())}, {.block = 1});
      grid.rows.push_back(bucket.Name());
      grid.values.push_back(
          {{interval.mean, values.size(0) * (bucket.last - bucket.first), interval.low, interval.high}});
    }
    return grid;
  }

  static void AddLast(const std::string& name, const Grid& curve, Results& results) {
    const Grid::Value& last = curve.values.back().front();
    results.metrics.push_back({name, last.value, "", last.count, last.low, last.high, curve.of});
  }

  void AddFigures(const EvaluationInput& input, const at::Tensor& nll, Results& results) const {
    results.grids.push_back(Curve("perplexity_by_position", "", nll));
    AddLast("late_perplexity", results.grids.back(), results);
    if (!input.dense) return;
    const at::Tensor dense = LoadLosses(*input.dense, Id()).each;
    if (dense.numel() != nll.numel())
      throw IoError(fmt::format("{}: {} tokens, this evaluation has {}; evaluate the dense model again",
                                LossesPath(*input.dense, Id()).string(), dense.numel(), nll.numel()));
    results.grids.push_back(Curve("perplexity_ratio_by_position", "dense", nll - dense.view(nll.sizes())));
    AddLast("late_perplexity_ratio", results.grids.back(), results);
  }

  ContextChange context_;
  LabelledText text_;
  int64_t length_, windows_;
};

std::vector<OptionSpec> PositionsOptions() {
  std::vector<OptionSpec> specs = LabelledTextOptions();
  specs.push_back(IntOption("length", 2048, "Tokens a window").Between(16, 1 << 22));
  specs.push_back(IntOption("windows", kLeastWindows, "At most this many windows; 0: all").AtLeast(0));
  for (OptionSpec& spec : ContextOptions()) specs.push_back(std::move(spec));
  return specs;
}

const bool kRegistered = Registry<Evaluator>::Register(
    {"positions",
     "Perplexity by position in the context, in buckets that double, and where dense is known its ratio",
     "ours",
     {},
     PositionsOptions()},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<Positions>(options); });

}  // namespace
}  // namespace espalier
