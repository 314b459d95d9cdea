#include "espalier/plan/compose.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "espalier/core/error.h"
#include "espalier/plan/ledger.h"

namespace espalier {
namespace {

[[noreturn]] void OfAnotherModel(const std::string& what) {
  throw RecipeError(fmt::format("plan: the second of two plans has {}; plan the model that the first one cut", what));
}

// The units of a cut model are those that the first plan kept, in their order.
KeptUnits ComposeUnits(const KeptUnits& first, const KeptUnits& second, UnitKind kind) {
  if (second.before != std::ssize(first.kept))
    OfAnotherModel(fmt::format("{} {}, the first one keeps {}", second.before, InfoOf(kind).plural, first.kept.size()));
  KeptUnits units;
  units.before = first.before;
  for (const int64_t unit : second.kept) units.kept.push_back(first.kept[static_cast<size_t>(unit)]);
  return units;
}

BlockPlan ComposeBlock(const BlockPlan& first, const BlockPlan& second) {
  BlockPlan block;
  for (const auto& [kind, units] : second.units) {
    const auto before = first.units.find(kind);
    if (before == first.units.end() || first.units.size() != second.units.size())
      OfAnotherModel(fmt::format("{}, and not the same kinds as the first", InfoOf(kind).plural));
    block.At(kind) = ComposeUnits(before->second, units, kind);
  }
  return block;
}

Unit Before(const Plan& first, Unit unit) {
  const KeptUnits& units = PerModel(unit.kind) ? first.residual_channels.value()
                                               : first.blocks.at(static_cast<size_t>(unit.block)).At(unit.kind);
  unit.index = units.kept.at(static_cast<size_t>(unit.index));
  return unit;
}

void AddProtected(const Plan& first, const ProtectedUnit& later, std::vector<ProtectedUnit>& all) {
  ProtectedUnit unit = later;
  unit.unit = Before(first, later.unit);
  const auto same = std::find_if(all.begin(), all.end(), [&](const ProtectedUnit& other) {
    return other.unit == unit.unit && other.rule == unit.rule;
  });
  if (same == all.end())
    all.push_back(unit);
  else
    same->would_cut = same->would_cut || unit.would_cut;
}

}  // namespace

Plan Compose(const Plan& first, const Plan& second) {
  if (first.blocks.size() != second.blocks.size())
    OfAnotherModel(fmt::format("{} blocks, the first one {}", second.blocks.size(), first.blocks.size()));
  if (first.residual_channels.has_value() != second.residual_channels.has_value())
    OfAnotherModel("not the same kinds as the first");
  Plan plan = first;
  plan.pruned = second.pruned;
  plan.requested_share = 1 - (1 - first.requested_share) * (1 - second.requested_share);
  if (!plan.budget_of.empty())
    plan.achieved_share = 1 - static_cast<double>(Measure(plan.pruned, plan.budget_of)) /
                                  static_cast<double>(Measure(plan.dense, plan.budget_of));
  for (size_t l = 0; l < plan.blocks.size(); ++l) plan.blocks[l] = ComposeBlock(first.blocks[l], second.blocks[l]);
  if (plan.residual_channels)
    plan.residual_channels =
        ComposeUnits(*first.residual_channels, *second.residual_channels, UnitKind::kResidualChannel);
  for (const ProtectedUnit& unit : second.protected_units) AddProtected(first, unit, plan.protected_units);
  return plan;
}

std::vector<Protection> Renumber(const Model& model, const Plan& plan, const std::vector<Protection>& protections) {
  const Ledger ledger = LedgerOf(model, plan);
  std::map<std::pair<int64_t, UnitKind>, KeptUnits> kept;
  std::vector<Protection> renumbered;
  for (const Protection& protection : protections) {
    const auto [place, added] = kept.try_emplace({protection.unit.block, protection.unit.kind});
    if (added) place->second = ledger.KeptOf(protection.unit.block, protection.unit.kind);
    const std::vector<int64_t>& units = place->second.kept;
    const auto found = std::lower_bound(units.begin(), units.end(), protection.unit.index);
    if (found == units.end() || *found != protection.unit.index) continue;
    renumbered.push_back(protection);
    renumbered.back().unit.index = found - units.begin();
  }
  return renumbered;
}

}  // namespace espalier
