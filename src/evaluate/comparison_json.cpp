#include <nlohmann/json.hpp>

#include "espalier/evaluate/comparison.h"

namespace espalier {
namespace {

Json ResultToJson(const PairedResult& result) {
  Json json = {{"id", result.id},
               {"verdict", VerdictName(result.verdict)},
               {"base_perplexity", result.base},
               {"head_perplexity", result.head},
               {"ratio", result.ratio.mean},
               {"low", result.ratio.low},
               {"high", result.ratio.high},
               {"tokens", result.tokens},
               {"resampled", result.resampled},
               {"p_pass", result.p_pass},
               {"p_fail", result.p_fail},
               {"reason", result.reason}};
  if (result.tokens_to_decide) json["tokens_to_decide"] = *result.tokens_to_decide;
  return json;
}

}  // namespace

Json ComparisonToJson(const PairedComparison& comparison) {
  Json json = {{"schema", "espalier.comparison/1"},
               {"verdict", VerdictName(comparison.verdict)},
               {"base", comparison.base},
               {"head", comparison.head},
               {"tolerance", comparison.options.tolerance},
               {"confidence", comparison.options.confidence},
               {"resamples", comparison.options.resamples},
               {"results", Json::array()},
               {"notices", comparison.notices}};
  for (const PairedResult& result : comparison.results) json["results"].push_back(ResultToJson(result));
  return json;
}

}  // namespace espalier
