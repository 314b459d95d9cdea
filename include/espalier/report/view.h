#pragma once
// A report's JSON read back, and what every rendered form derives from it in the same way.
#include <optional>
#include <string>
#include <vector>

#include "espalier/report/format.h"
#include "espalier/report/report.h"

namespace espalier {

// Shares of the dense model that a model keeps. "N % smaller" can mean any of the three, so all are shown always.
struct Shares {
  double block_parameters = 0, total_parameters = 0, bytes = 0;
};

// Perplexities are compared only on the same corpus by the same preset.
struct Corpus {
  std::string corpus, preset;
  std::string Title() const;  // "wikitext-2 (gptq-2048)"
};

// Models against corpora and speeds, in display order; nothing where a model was not measured.
struct Comparison {
  std::vector<std::string> models;
  std::vector<Corpus> corpora;
  std::vector<std::vector<std::optional<Estimate>>> perplexity, ratio;  // [model][corpus]; ratio: to the dense model
  std::vector<std::string> speeds;                                      // "prefill", "decode": metrics in tokens/s
  std::vector<std::vector<std::optional<Estimate>>> speed;              // [model][speed]
};

struct ReportView {
  ReportInput data;
  std::string verdict;  // "pass", "fail", "inconclusive"; "none" without gates
  std::string summary;
  Comparison comparison;
};

// IoError when `report` is not of schema "espalier.report/1".
ReportView ReadReport(const Json& report);

Comparison Compare(const std::vector<ModelSummary>& models, const std::vector<Results>& results);
// None without a dense model of the name "dense".
std::optional<Shares> SharesOf(const std::vector<ModelSummary>& models, const std::string& model);
const ModelSummary* FindModel(const std::vector<ModelSummary>& models, const std::string& name);
// "fail" before "inconclusive" before "pass"; "none" without gates.
std::string OverallVerdict(const std::vector<GateOutcome>& gates);
// What the run found, in one or two sentences.
std::string Summarize(const ReportInput& input);
// What pruning must not do to the phenomena of the first model (analyze/compare.h), by model; the plan says which
// neurons were cut.
std::vector<std::string> PhenomenonFlags(const ReportInput& input);

}  // namespace espalier
