#include "espalier/evaluate/gate.h"

#include <fmt/format.h>

namespace espalier {
namespace {

// Passes when the whole interval lies at or below the limit, fails when it lies above, else there is too little
// evidence.
class UpperLimit final : public Gate {
 public:
  UpperLimit(std::string metric, const Options& options)
      : metric_(std::move(metric)),
        model_(options.Text("of")),
        on_(options.Has("on") ? options.Text("on") : ""),
        max_(options.Real("max")) {}

  std::vector<GateResult> Judge(const std::vector<Results>& results) const override {
    std::vector<GateResult> outcomes;
    for (const Results& result : results) {
      const Metric* metric = result.Find(metric_);
      if (result.model != model_ || metric == nullptr || (!on_.empty() && result.id != on_)) continue;
      const double low = metric->low.value_or(metric->value), high = metric->high.value_or(metric->value);
      const Verdict verdict = high <= max_ ? Verdict::kPass : low > max_ ? Verdict::kFail : Verdict::kInconclusive;
      outcomes.push_back({fmt::format("{} of {} on {} at most {}", metric_, model_, result.id, max_), verdict,
                          fmt::format("{:.4g} [{:.4g}, {:.4g}]", metric->value, low, high)});
    }
    if (outcomes.empty())
      outcomes.push_back(
          {fmt::format("{} of {} at most {}", metric_, model_, max_), Verdict::kFail, "no such figure was measured"});
    return outcomes;
  }

 private:
  std::string metric_, model_, on_;
  double max_;
};

bool RegisterUpperLimit(const std::string& metric, const std::string& doc) {
  return Registry<Gate>::Register(
      {metric,
       doc,
       "ours",
       {},
       {TextOption("of", "pruned", "Model that is judged").OneOf({"dense", "pruned", "healed"}),
        TextOption("on", std::nullopt, "Only this evaluation, by its id; default: each that has the figure").Optional(),
        RealOption("max", std::nullopt, "Largest value that passes").AtLeast(0)}},
      [metric](const Options& options) -> std::unique_ptr<Gate> {
        return std::make_unique<UpperLimit>(metric, options);
      });
}

const bool kRatio = RegisterUpperLimit("perplexity_ratio", "Upper limit of the perplexity ratio to dense");
const bool kPerplexity = RegisterUpperLimit("perplexity", "Upper limit of perplexity");

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  return verdict == Verdict::kPass ? "pass" : verdict == Verdict::kFail ? "fail" : "inconclusive";
}

}  // namespace espalier
