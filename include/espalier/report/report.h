#pragma once
// The report of a run: one JSON document, and Markdown and HTML rendered from it alone.
#include <optional>
#include <string>
#include <vector>

#include "espalier/analyze/phenomena.h"
#include "espalier/core/json.h"
#include "espalier/evaluate/results.h"
#include "espalier/plan/plan.h"

namespace espalier {

struct ModelSummary {
  std::string name;  // "dense", "pruned", "healed"
  int64_t parameters = 0, block_parameters = 0;
  int64_t bytes = 0;       // of the parameters in the run's dtype
  int64_t file_bytes = 0;  // of the checkpoint's weight files; 0 when it was not written
};

struct GateOutcome {
  std::string text;     // "perplexity_ratio of pruned on wikitext-2 at most 1.6"
  std::string verdict;  // "pass", "fail", "inconclusive"
  std::string detail;   // figures
};

struct HealingCurve {
  std::vector<int64_t> tokens;  // seen before the step
  std::vector<double> loss;     // of the step (nats per token)
  std::vector<int64_t> validation_tokens;
  std::vector<double> validation_loss;
};

struct ReportInput {
  std::string recipe_name, question;  // file stem and its `question` key
  std::vector<ModelSummary> models;   // dense first
  std::vector<Results> results;       // all models, all suites
  std::vector<Phenomena> phenomena;   // of each analysed model, dense first
  std::optional<Plan> plan;
  std::optional<HealingCurve> healing;
  std::vector<GateOutcome> gates;
  std::vector<std::string> notices;  // honest-scope lines, overfit warning, allow_leak
  std::vector<std::pair<std::string, std::string>>
      provenance;  // revision, LibTorch, device, threads, hashes, stage times
};

Json BuildReport(const ReportInput& input);      // schema "espalier.report/1", docs/schemas/report-1.schema.json
std::string RenderMarkdown(const Json& report);  // ends with a newline; fits a pull-request comment
std::string RenderHtml(const Json& report);      // one self-contained page, inline SVG, light and dark
// The table the command prints last: models x parameters, bytes, perplexities with intervals, tokens per second.
std::string RenderTerminalTable(const Json& report);

}  // namespace espalier
