#pragma once
// What an evaluation returns: named figures with unit, count, protocol and interval. Written as
// evaluate/<model>/<id>.json.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

struct Metric {
  std::string name;  // "perplexity", "perplexity_ratio", "prefill_tokens_per_second"
  double value = 0;
  std::string unit;                 // "", "tokens/s"
  int64_t count = 0;                // what the figure is a mean over: scored tokens, repeats
  std::optional<double> low, high;  // 95 % interval, when there is one
  std::string of;                   // what a ratio is relative to ("dense"); else empty
};

// A figure over one axis or two: a curve (one column, no column axis) or a grid, which reports draw.
struct Grid {
  struct Value {
    double value = 0;
    int64_t count = 0;
    std::optional<double> low, high;  // 95 % interval, when there is one
  };
  std::string name;                   // "nll_by_position", "accuracy"; unique in its results
  std::string unit;                   // "", "nats"
  std::string row_axis, column_axis;  // "position"; "depth (%)", or empty
  std::vector<std::string> rows, columns;
  std::vector<std::vector<Value>> values;  // [row][column]
  std::string of;                          // what a ratio is relative to ("dense"); else empty
};

struct Results {
  std::string id;     // unique in the run: "perplexity-wikitext-2"
  std::string suite;  // evaluator name
  std::string model;  // "dense", "pruned", "healed"
  // What makes the figures comparable: preset, window, stride, bos, corpus, corpus_sha256, tokenizer_sha256, tokens,
  // dtype, attention, interval. Values are texts; the order is the order of display.
  std::vector<std::pair<std::string, std::string>> protocol;
  std::vector<Metric> metrics;
  std::vector<Grid> grids = {};

  const Metric* Find(std::string_view name) const;  // nullptr: none
};

Json ResultsToJson(const Results& results);  // schema "espalier.results/1"
Results ResultsFromJson(const Json& json, const std::string& where);

}  // namespace espalier
