#include <nlohmann/json.hpp>

#include "espalier/evaluate/comparison.h"

namespace espalier {
namespace {

Json ResultToJson(const PairedResult& result) {
  Json json = {{"id", result.id},          {"metric", result.metric},    {"verdict", VerdictName(result.verdict)},
               {"base", result.base},      {"head", result.head},        {"change", result.change.mean},
               {"low", result.change.low}, {"high", result.change.high}, {"limit", result.limit},
               {"count", result.count},    {"counted", result.counted},  {"resampled", result.resampled},
               {"p_pass", result.p_pass},  {"p_fail", result.p_fail},    {"reason", result.reason}};
  if (result.to_decide) json["to_decide"] = *result.to_decide;
  return json;
}

}  // namespace

Json ComparisonToJson(const PairedComparison& comparison) {
  Json json = {{"schema", "espalier.comparison/1"},
               {"verdict", VerdictName(comparison.verdict)},
               {"base", comparison.base},
               {"head", comparison.head},
               {"tolerance", comparison.options.tolerance},
               {"drop", comparison.options.drop},
               {"confidence", comparison.options.confidence},
               {"resamples", comparison.options.resamples},
               {"results", Json::array()},
               {"notices", comparison.notices}};
  for (const PairedResult& result : comparison.results) json["results"].push_back(ResultToJson(result));
  return json;
}

}  // namespace espalier
