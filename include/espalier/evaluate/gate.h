#pragma once
// Gates: a limit on one figure of one model, judged with its interval: pass, fail, or not enough evidence.
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/registry.h"
#include "espalier/evaluate/results.h"

namespace espalier {

enum class Verdict { kPass, kFail, kInconclusive };
std::string_view VerdictName(Verdict verdict);  // "pass"

struct GateResult {
  std::string text;  // "perplexity_ratio of pruned on perplexity-wikitext-2 at most 1.6"
  Verdict verdict = Verdict::kInconclusive;
  std::string detail;  // "1.43 [1.41, 1.46]"
};

class Gate {
 public:
  static constexpr std::string_view kKind = "gate";
  virtual ~Gate() = default;
  // What it judges: a metric of a model ("pruned"), on one evaluation's id or, empty, on each that has it.
  virtual std::string Metric() const = 0;
  virtual std::string Of() const = 0;
  virtual std::string On() const = 0;
  // One outcome for each result that has the figure. A gate that finds no figure to judge fails: nothing passes
  // vacuously.
  virtual std::vector<GateResult> Judge(const std::vector<Results>& results) const = 0;
};

}  // namespace espalier
