#pragma once
// Scores + protection + budget -> plan.
#include <vector>

#include "espalier/plan/allocator.h"
#include "espalier/plan/plan.h"
#include "espalier/protect/rule.h"
#include "espalier/score/scorer.h"

namespace espalier {

struct PlanOptions {
  std::string scorer_name, allocator_name;
  std::vector<UnitKind> kinds;
  at::Tensor windows;  // calibration windows [S, T], for scorers that run the model; undefined: for the others
  std::string budget_of = "block_parameters";  // block_parameters, total_parameters, bytes, kv_bytes, macs
  double remove = 0;                           // share of it, in [0, 1)
  int64_t min_kv_groups = 1, min_ffn_channels = 1;
  bool compensation_adds_bias = false;  // w_o and w_down of every cut sublayer gain a bias of C parameters
};
std::vector<std::string> BudgetMeasures();

// The dense model's cost, and that of a model whose blocks keep what `blocks` says.
Cost DenseCost(const Model& model);
Cost PlannedCost(const Model& model, const std::vector<BlockPlan>& blocks, bool compensation_adds_bias);
int64_t Measure(const Cost& cost, std::string_view budget_of);

// RecipeError when the budget cannot be met: says what can be removed at most and how much each rule and minimum holds.
Plan MakePlan(const Model& model, const Statistics* statistics, const Scorer& scorer, const Allocator& allocator,
              const std::vector<Protection>& protections, const PlanOptions& options);

}  // namespace espalier
