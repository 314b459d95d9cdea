#include "espalier/evaluate/gate.h"

#include <fmt/format.h>

namespace espalier {
namespace {

// Passes when the whole interval lies on the right side of the limit, fails when it lies on the other, else there is
// too little evidence.
class Limit final : public Gate {
 public:
  Limit(std::string metric, bool upper, const Options& options)
      : metric_(std::move(metric)),
        model_(options.Text("of")),
        on_(options.Has("on") ? options.Text("on") : ""),
        upper_(upper),
        limit_(options.Real(upper ? "max" : "min")) {}

  std::string Metric() const override { return metric_; }
  std::string Of() const override { return model_; }
  std::string On() const override { return on_; }

  std::vector<GateResult> Judge(const std::vector<Results>& results) const override {
    const std::string side = upper_ ? "at most" : "at least";
    std::vector<GateResult> outcomes;
    for (const Results& result : results) {
      const espalier::Metric* metric = result.Find(metric_);
      if (result.model != model_ || metric == nullptr || (!on_.empty() && result.id != on_)) continue;
      const double low = metric->low.value_or(metric->value), high = metric->high.value_or(metric->value);
      outcomes.push_back({fmt::format("{} of {} on {} {} {}", metric_, model_, result.id, side, limit_),
                          upper_ ? JudgeSides(high <= limit_, low > limit_) : JudgeSides(low >= limit_, high < limit_),
                          fmt::format("{:.4g} [{:.4g}, {:.4g}]", metric->value, low, high)});
    }
    if (outcomes.empty())
      outcomes.push_back({fmt::format("{} of {} {} {}", metric_, model_, side, limit_), Verdict::kFail,
                          "no such figure was measured"});
    return outcomes;
  }

 private:
  static Verdict JudgeSides(bool wholly_right, bool wholly_wrong) {
    return wholly_right ? Verdict::kPass : wholly_wrong ? Verdict::kFail : Verdict::kInconclusive;
  }

  std::string metric_, model_, on_;
  bool upper_;
  double limit_;
};

bool RegisterLimit(const std::string& metric, bool upper, const std::string& doc) {
  return Registry<Gate>::Register(
      {metric,
       fmt::format("{} limit of {}", upper ? "Upper" : "Lower", doc),
       "ours",
       {},
       {TextOption("of", "pruned", "Model that is judged").OneOf({"dense", "pruned", "healed"}),
        TextOption("on", std::nullopt, "Only this evaluation, by its id; default: each that has the figure").Optional(),
        upper ? RealOption("max", std::nullopt, "Largest value that passes").AtLeast(0)
              : RealOption("min", std::nullopt, "Smallest value that passes").AtLeast(-1)}},
      [metric, upper](const Options& options) -> std::unique_ptr<Gate> {
        return std::make_unique<Limit>(metric, upper, options);
      });
}
bool AtMost(const std::string& metric, const std::string& doc) {
  return RegisterLimit(metric, true, doc);
}
bool AtLeast(const std::string& metric, const std::string& doc) {
  return RegisterLimit(metric, false, doc);
}

const bool kRegistered[] = {
    AtMost("perplexity_ratio", "the perplexity ratio to dense"),
    AtMost("perplexity", "perplexity"),
    AtMost("late_perplexity_ratio", "the perplexity ratio to dense at the end of a context (positions)"),
    AtMost("answer_nll", "the loss of a hidden key's digits, nats (passkey)"),
    AtMost("kl", "the mean divergence from the base, nats (divergence)"),
    AtMost("peak_memory", "the process's memory, bytes (speed)"),
    AtLeast("same_top", "the share of tokens whose likeliest next token is the base's (divergence)"),
    AtLeast("accuracy", "accuracy, 0 to 1 (multiple_choice, passkey, ruler, copying)"),
    AtLeast("accuracy_change", "accuracy less the dense model's, -1 to 1 (passkey, ruler, copying)"),
    AtLeast("prefill_tokens_per_second", "the speed of a prompt (speed)"),
    AtLeast("decode_tokens_per_second", "the speed of generation (speed)")};

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  return verdict == Verdict::kPass ? "pass" : verdict == Verdict::kFail ? "fail" : "inconclusive";
}

}  // namespace espalier
