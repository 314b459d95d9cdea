#pragma once
// Scores + protection + budget -> plan.
#include <functional>
#include <optional>
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
  std::string budget_of = "block_parameters";  // one of BudgetMeasures()
  double remove = 0;                           // share of it, in [0, 1)
  Timing timing{};                             // where that is time
  std::optional<int64_t> amount;               // instead of the share, where that is of another model
  int64_t min_kv_groups = 1, min_ffn_channels = 1;
  int64_t round_ffn_to = 1;  // kept FFN widths: multiples of it, all that there are, or none
  int64_t swaps = 0;         // exchanges of FFN channels a block at most; needs co-moments
  // For allocators that run the model: it cut to a plan and, where that is cheap, compensated.
  std::function<Model(const Plan&)> prune = {};
  bool compensation_adds_bias = false;  // w_o and w_down that lose columns gain a bias
  bool residue_adds_bias = false;       // every w_gate gains one
};

// What can go at most, units of all kinds together: how many there are, how many may go, and what those save.
struct Reach {
  int64_t units = 0, removable = 0, saving = 0;
};
Reach ReachOf(const Model& model, const PlanOptions& options, const std::vector<Protection>& protections = {});

// The cost of a model that keeps what `plan` says.
Cost PlannedCost(const Model& model, const Plan& plan, bool compensation_adds_bias);

// RecipeError when the budget cannot be met: says what can be removed at most, and how much of it the minimums
// and the units of each rule hold; or when FFN widths cannot be rounded.
Plan MakePlan(const Model& model, const Statistics* statistics, const Scorer& scorer, const Allocator& allocator,
              const std::vector<Protection>& protections, const PlanOptions& options);

}  // namespace espalier
