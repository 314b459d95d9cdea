#pragma once
// Interventions measured: perplexity and phenomena of a model before and after each.
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "espalier/analyze/analyze.h"
#include "espalier/analyze/compare.h"
#include "espalier/analyze/interventions.h"
#include "espalier/evaluate/bootstrap.h"

namespace espalier {

// Windows that are scored each on its own: every token but the first of each.
struct AblationText {
  std::string name;
  at::Tensor windows;  // [N, T] int64
};

struct AblationRow {
  std::string intervention;        // "none" for the first row
  std::vector<double> perplexity;  // one a text
  std::vector<Interval> ratio;     // to the first row on the same tokens; empty in the first row
  Phenomena phenomena;
  std::vector<PhenomenonFlag> flags;  // against the first row
};

struct Ablation {
  std::string model;
  std::vector<std::string> texts;
  int64_t windows = 0, window = 0;
  std::vector<AblationRow> rows;
};

// The unchanged model and then each intervention. NumericError when a loss is not finite is not thrown: a model that an
// intervention breaks has perplexity infinity.
Ablation RunAblation(const Model& model, const std::vector<Intervention>& interventions,
                     const std::vector<AblationText>& texts, const at::Tensor& analyzed, const AnalyzeOptions& options,
                     const std::string& name);

// What one would try first on a model with these phenomena: each strong step-up neuron, those of each block together,
// the step-down neurons, a control, spikes to zero and to their mean, the median control, the super weights.
std::vector<Intervention> DefaultInterventions(const Phenomena& phenomena);

Json AblationToJson(const Ablation& ablation);  // schema "espalier.ablation/1"
// At most 100 columns: perplexities with their ratio, the largest |h|, step-ups, sink rate, F-Attn; then the flags.
std::string AblationTable(const Ablation& ablation);

}  // namespace espalier
