#include "espalier/plan/planner.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "espalier/plan/ledger.h"
#include "round_widths.h"
#include "swaps.h"

namespace espalier {
namespace {

LedgerOptions LedgerOptionsOf(const PlanOptions& options) {
  return {options.budget_of,     options.compensation_adds_bias, options.residue_adds_bias,
          options.min_kv_groups, options.min_ffn_channels,       options.timing};
}

Ledger ProtectedLedger(const Model& model, const PlanOptions& options, const std::vector<Protection>& protections) {
  Ledger ledger(model, LedgerOptionsOf(options));
  for (const Protection& protection : protections) ledger.Protect(protection.unit);
  return ledger;
}

// Blocks in which units of a kind are found.
std::vector<int64_t> BlocksOf(const Model& model, UnitKind kind) {
  if (PerModel(kind)) return {kWholeModel};
  std::vector<int64_t> blocks;
  for (int64_t l = 0; l < model.config.L(); ++l)
    if (UnitSpace(model, l, kind).size() > 0) blocks.push_back(l);
  return blocks;
}

std::vector<Unit> AllUnits(const Model& model, const std::vector<UnitKind>& kinds) {
  std::vector<Unit> units;
  for (const UnitKind kind : kinds)
    for (const int64_t block : BlocksOf(model, kind))
      for (int64_t unit = 0; unit < UnitSpace(model, block, kind).size(); ++unit) units.push_back({block, kind, unit});
  return units;
}

// A kind that is always listed has a line in the plan whether or not it may go.
bool Lists(const PlanOptions& options, UnitKind kind) {
  return kind == UnitKind::kKvGroup || kind == UnitKind::kFfnChannel ||
         std::find(options.kinds.begin(), options.kinds.end(), kind) != options.kinds.end();
}

// ", spike_producers holds 12 units (0.4 %)" for each rule: what could go more if it were not for that rule. A channel
// holds the sublayer and the block that it is in.
std::string HeldByRules(const Model& model, const PlanOptions& options, const std::vector<Protection>& protections,
                        double whole) {
  std::map<std::string, std::vector<Protection>> by_rule;
  for (const Protection& protection : protections) by_rule[protection.rule].push_back(protection);
  const int64_t free = ReachOf(model, options).saving;
  std::string text;
  for (const auto& [rule, own] : by_rule) {
    std::set<Unit> units;
    for (const Protection& protection : own) units.insert(protection.unit);
    const auto held = static_cast<double>(free - ReachOf(model, options, own).saving);
    text += fmt::format(", {} holds {} units ({:.1f} %)", rule, units.size(), 100 * held / whole);
  }
  return text;
}

class Planner {
 public:
  Planner(const Model& model, const Statistics* statistics, const Scorer& scorer, const Allocator& allocator,
          const PlanOptions& options)
      : model_(model),
        statistics_(statistics),
        allocator_(allocator),
        options_(options),
        dense_(DenseCost(model, options.timing)) {
    ESPALIER_CHECK(options.swaps == 0 || statistics != nullptr, "swaps need statistics");
    for (const UnitKind kind : options.kinds)
      for (const int64_t block : BlocksOf(model, kind)) {
        UnitGroup group{block, kind, {}};
        group.score = CheckedScore(scorer, options.scorer_name,
                                   {model, block, kind, statistics, options.windows, options.remove, &options.kinds});
        groups_.push_back(std::move(group));
      }
  }

  // What has to go, in the budget's measure: what is asked for, and what compensation adds before anything went.
  int64_t Amount() const {
    return Added() + (options_.amount ? *options_.amount : static_cast<int64_t>(options_.remove * Whole()));
  }

  // Throws when the budget is out of reach.
  void CheckReach(const std::vector<Protection>& protections) const {
    const double whole = Whole();
    const auto reach = static_cast<double>(ReachOf(model_, options_, protections).saving - Added());
    if (reach >= (options_.amount ? static_cast<double>(*options_.amount) : options_.remove * whole)) return;
    PlanOptions without_minimums = options_;
    without_minimums.min_kv_groups = without_minimums.min_ffn_channels = 0;
    const auto by_minimum =
        static_cast<double>(ReachOf(model_, without_minimums).saving - ReachOf(model_, options_).saving);
    throw RecipeError(
        fmt::format("prune.budget.remove: {} of {} asked for, at most {:.4f} can go (minimums hold {:.4f}{}); "
                    "ask for less, allow more unit kinds, or lower the minimums",
                    options_.remove, options_.budget_of,
                    std::floor(1e4 * reach / whole) / 1e4,  // what it names can be asked for
                    by_minimum / whole, HeldByRules(model_, options_, protections, whole)));
  }

  Plan Allocate(const std::vector<Protection>& protections) const {
    const Ledger intact = ProtectedLedger(model_, options_, protections);
    const AllocationInput input = Input();
    Ledger allocated = intact;
    allocator_.Allocate(input, allocated);
    const Ledger rounded = options_.round_ffn_to > 1
                               ? RoundFfnWidths(options_.round_ffn_to, allocator_, input, intact, allocated)
                               : allocated;
    const Ledger ledger =
        options_.swaps > 0 ? SwapFfnChannels(options_.swaps, model_, *statistics_, groups_, intact, rounded) : rounded;
    Plan plan;
    ledger.ListKept(options_.kinds, plan);
    plan.dense = dense_;
    plan.timing = options_.timing;
    plan.pruned = ledger.Total();
    plan.achieved_share = 1 - static_cast<double>(Measure(plan.pruned, options_.budget_of)) / Whole();
    return plan;
  }

  int64_t Rank(const Unit& unit) const {
    for (const UnitGroup& group : groups_) {
      if (group.block != unit.block || group.kind != unit.kind) continue;
      const std::vector<int64_t> order = Ascending(group.score.mean(1).contiguous());
      return 1 + (std::find(order.rbegin(), order.rend(), unit.index) - order.rbegin());  // the most important is 1
    }
    return 0;
  }

 private:
  AllocationInput Input() const {
    AllocationInput input{groups_, Amount(), &model_, options_.windows, {}};
    if (options_.prune)
      input.prune = [this](const std::vector<Unit>& removed) {
        Ledger ledger(model_);
        for (const Unit& unit : removed) ledger.Remove(unit);
        Plan plan;
        ledger.ListKept(options_.kinds, plan);
        return options_.prune(plan);
      };
    return input;
  }

  int64_t Added() const {
    return Ledger(model_, LedgerOptionsOf(options_)).Measured() - Measure(dense_, options_.budget_of);
  }
  double Whole() const { return static_cast<double>(Measure(dense_, options_.budget_of)); }

  const Model& model_;
  const Statistics* statistics_;
  const Allocator& allocator_;
  PlanOptions options_;
  Cost dense_;
  std::vector<UnitGroup> groups_;
};

}  // namespace

Reach ReachOf(const Model& model, const PlanOptions& options, const std::vector<Protection>& protections) {
  Ledger ledger = ProtectedLedger(model, options, protections);
  // Dearest first, so that a minimum is met by what costs least.
  std::vector<std::pair<int64_t, Unit>> dearest;
  for (const Unit& unit : AllUnits(model, options.kinds)) dearest.emplace_back(ledger.Alone(unit), unit);
  std::stable_sort(dearest.begin(), dearest.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Unit> order;
  for (const auto& [cost, unit] : dearest) order.push_back(unit);
  Reach reach;
  reach.units = std::ssize(order);
  reach.saving = RemoveInOrder(order, std::numeric_limits<int64_t>::max(), ledger);
  reach.removable = std::count_if(order.begin(), order.end(), [&](const Unit& unit) { return !ledger.Stays(unit); });
  return reach;
}

Cost PlannedCost(const Model& model, const Plan& plan, bool compensation_adds_bias) {
  return LedgerOf(model, plan, {.compensation_adds_bias = compensation_adds_bias}).Total();
}

Plan MakePlan(const Model& model, const Statistics* statistics, const Scorer& scorer, const Allocator& allocator,
              const std::vector<Protection>& protections, const PlanOptions& options) {
  Planner planner(model, statistics, scorer, allocator, options);
  planner.CheckReach(protections);
  const Plan unprotected = protections.empty() ? Plan() : planner.Allocate({});
  Plan plan = planner.Allocate(protections);
  plan.scorer = options.scorer_name;
  plan.allocator = options.allocator_name;
  plan.budget_of = options.budget_of;
  plan.requested_share = options.remove;
  for (const Protection& protection : protections)
    if (Lists(options, protection.unit.kind))
      plan.protected_units.push_back({protection.unit, protection.rule, protection.reason,
                                      planner.Rank(protection.unit), !Keeps(unprotected, protection.unit)});
  return plan;
}

}  // namespace espalier
