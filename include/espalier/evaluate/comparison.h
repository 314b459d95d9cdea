#pragma once
// What comparing two models token by token found (compare.h).
#include <optional>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/evaluate/bootstrap.h"
#include "espalier/evaluate/gate.h"

namespace espalier {

struct CompareOptions {
  double tolerance = 0.01;  // perplexity may rise by this share of the base's
  double drop = 0.01;       // accuracy may fall by this much: 0.01 is one point
  double confidence = 0.95;
  int64_t resamples = 10000;
  int64_t min_tokens = 4096;  // fewer paired tokens decide nothing
  int64_t min_items = 100;    // nor do fewer items
  // What equal losses to the last bit mean: the same model measured again, or a model that was never swapped.
  Verdict identical = Verdict::kInconclusive;
};

// One text under one protocol, or one set of items.
struct PairedResult {
  std::string id;             // "perplexity-wikitext-2"
  std::string metric;         // "perplexity" or "accuracy"
  double base = 0, head = 0;  // the metric's values
  // Of perplexity the ratio of head to base, of accuracy the difference head less base.
  Interval change;
  double limit = 0;               // of the change: perplexity at most, accuracy at least
  int64_t count = 0;              // pairs
  std::string counted;            // "tokens", "items"
  std::string resampled;          // "blocks of 512 tokens", "62 documents", "items"
  double p_pass = 1, p_fail = 1;  // one-sided, Holm-adjusted over all results of the comparison
  Verdict verdict = Verdict::kInconclusive;
  std::string reason;                // why not decided, or what else there is to know; may be empty
  std::optional<int64_t> to_decide;  // about, when more of the kind would decide
};

struct PairedComparison {
  std::string base, head;  // names
  CompareOptions options;
  std::vector<PairedResult> results;
  std::vector<std::string> notices;  // what was not compared, and what differs though it does not forbid comparing
  Verdict verdict = Verdict::kInconclusive;  // fail when any result fails, else inconclusive when any is
};

Json ComparisonToJson(const PairedComparison& comparison);  // schema "espalier.comparison/1", docs/schemas

}  // namespace espalier
