#include "espalier/plan/planner.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace espalier {
namespace {

int64_t UnitCostIn(const UnitCost& cost, std::string_view budget_of, int64_t element) {
  if (budget_of == "kv_bytes") return cost.kv_width * element;
  if (budget_of == "macs") return cost.macs;
  return budget_of == "bytes" ? cost.parameters * element : cost.parameters;
}

// What compensation adds to a sublayer when its first unit goes, in the budget's measure.
int64_t OpeningCost(const Model& model, const Linear& consumer, const PlanOptions& options) {
  if (!options.compensation_adds_bias || consumer.bias.defined()) return 0;
  if (options.budget_of == "kv_bytes" || options.budget_of == "macs") return 0;
  return options.budget_of == "bytes" ? model.config.C * model.embedding.element_size() : model.config.C;
}

class Planner {
 public:
  Planner(const Model& model, const Statistics* statistics, const Scorer& scorer, const Allocator& allocator,
          const PlanOptions& options)
      : model_(model), allocator_(allocator), options_(options), dense_(DenseCost(model)) {
    for (int64_t l = 0; l < model.config.L(); ++l)
      for (const UnitKind kind : options.kinds) {
        const UnitSpace space(model, l, kind);
        if (space.size() == 0) continue;
        UnitGroup group;
        group.block = l;
        group.kind = kind;
        group.score =
            CheckedScore(scorer, options.scorer_name, {model, l, kind, statistics, options.windows, options.remove});
        group.cost = UnitCostIn(space.Cost(0), options.budget_of, model.embedding.element_size());
        group.opening = OpeningCost(model, model.blocks[static_cast<size_t>(l)].At(space.consumer()), options);
        group.minimum =
            std::min(kind == UnitKind::kKvGroup ? options.min_kv_groups : options.min_ffn_channels, space.size());
        groups_.push_back(std::move(group));
      }
  }

  void Protect(const std::vector<Protection>& protections) {
    for (const Protection& protection : protections)
      for (UnitGroup& group : groups_)
        if (group.block == protection.unit.block && group.kind == protection.unit.kind)
          group.protected_units.insert(protection.unit.index);
  }

  // Throws when the budget is out of reach; `protections` are only for the message.
  void CheckReach(const std::vector<Protection>& protections) const {
    const auto whole = static_cast<double>(Measure(dense_, options_.budget_of));
    int64_t reach = 0, by_minimum = 0;
    for (const UnitGroup& group : groups_) {
      reach += std::max<int64_t>(0, group.Saving(group.Removable()));
      by_minimum += group.minimum * group.cost;
    }
    if (static_cast<double>(reach) >= options_.remove * whole) return;
    std::map<std::string, std::set<Unit>> held;
    for (const Protection& protection : protections) held[protection.rule].insert(protection.unit);
    std::string rules;
    for (const auto& [rule, units] : held) rules += fmt::format(", {} holds {} units", rule, units.size());
    throw RecipeError(
        fmt::format("prune.budget.remove: {} of {} asked for, at most {:.4f} can go (minimums hold {:.4f}{}); "
                    "ask for less, allow more unit kinds, or lower the minimums",
                    options_.remove, options_.budget_of,
                    std::floor(1e4 * static_cast<double>(reach) / whole) / 1e4,  // what it names can be asked for
                    static_cast<double>(by_minimum) / whole, rules));
  }

  std::vector<BlockPlan> Allocate() const { return ToBlocks(allocator_.Allocate(groups_, Target())); }

  int64_t Rank(const Unit& unit) const {
    for (const UnitGroup& group : groups_) {
      if (group.block != unit.block || group.kind != unit.kind) continue;
      const std::vector<int64_t> order = Ascending(group.score.mean(1).contiguous());
      return 1 + (std::find(order.rbegin(), order.rend(), unit.index) - order.rbegin());  // the most important is 1
    }
    return 0;
  }

  const Cost& dense() const { return dense_; }

 private:
  int64_t Target() const {
    return static_cast<int64_t>(options_.remove * static_cast<double>(Measure(dense_, options_.budget_of)));
  }

  std::vector<BlockPlan> ToBlocks(const Allocation& allocation) const {
    std::vector<BlockPlan> blocks(model_.config.blocks.size());
    for (size_t l = 0; l < blocks.size(); ++l) {
      blocks[l].kv_groups_before = model_.config.blocks[l].G;
      blocks[l].ffn_channels_before = model_.config.blocks[l].F;
      for (int64_t i = 0; i < blocks[l].kv_groups_before; ++i) blocks[l].kv_groups.push_back(i);
      for (int64_t i = 0; i < blocks[l].ffn_channels_before; ++i) blocks[l].ffn_channels.push_back(i);
    }
    for (size_t g = 0; g < groups_.size(); ++g) {
      BlockPlan& block = blocks[static_cast<size_t>(groups_[g].block)];
      std::vector<int64_t>& kept = groups_[g].kind == UnitKind::kKvGroup ? block.kv_groups : block.ffn_channels;
      std::erase_if(kept, [&](int64_t unit) { return allocation.removed[g].contains(unit); });
    }
    return blocks;
  }

  const Model& model_;
  const Allocator& allocator_;
  PlanOptions options_;
  Cost dense_;
  std::vector<UnitGroup> groups_;
};

}  // namespace

bool Keeps(const std::vector<BlockPlan>& blocks, const Unit& unit) {
  const BlockPlan& block = blocks.at(static_cast<size_t>(unit.block));
  const auto& kept = unit.kind == UnitKind::kKvGroup ? block.kv_groups : block.ffn_channels;
  return std::binary_search(kept.begin(), kept.end(), unit.index);
}

Plan MakePlan(const Model& model, const Statistics* statistics, const Scorer& scorer, const Allocator& allocator,
              const std::vector<Protection>& protections, const PlanOptions& options) {
  Planner planner(model, statistics, scorer, allocator, options);
  planner.CheckReach({});
  const std::vector<BlockPlan> unprotected = protections.empty() ? std::vector<BlockPlan>() : planner.Allocate();
  planner.Protect(protections);
  planner.CheckReach(protections);

  Plan plan;
  plan.scorer = options.scorer_name;
  plan.allocator = options.allocator_name;
  plan.budget_of = options.budget_of;
  plan.requested_share = options.remove;
  plan.blocks = planner.Allocate();
  plan.dense = planner.dense();
  plan.pruned = PlannedCost(model, plan.blocks, options.compensation_adds_bias);
  const auto whole = static_cast<double>(Measure(plan.dense, options.budget_of));
  plan.achieved_share = 1 - static_cast<double>(Measure(plan.pruned, options.budget_of)) / whole;
  for (const Protection& protection : protections)
    plan.protected_units.push_back({protection.unit, protection.rule, protection.reason, planner.Rank(protection.unit),
                                    !Keeps(unprotected, protection.unit)});
  return plan;
}

}  // namespace espalier
