#include "espalier/plan/plan.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {

const KeptUnits& BlockPlan::At(UnitKind kind) const {
  const auto found = units.find(kind);
  ESPALIER_CHECK(found != units.end(), "the plan does not list units of this kind");
  return found->second;
}

bool Keeps(const Plan& plan, const Unit& unit) {
  const auto keeps = [&](const KeptUnits& units) {
    return std::binary_search(units.kept.begin(), units.kept.end(), unit.index);
  };
  if (PerModel(unit.kind)) return !plan.residual_channels || keeps(*plan.residual_channels);
  const BlockPlan& block = plan.blocks.at(static_cast<size_t>(unit.block));
  const auto listed = block.units.find(unit.kind);
  if (listed != block.units.end()) return keeps(listed->second);
  const bool attention = !block.At(UnitKind::kKvGroup).kept.empty();
  const bool ffn = !block.At(UnitKind::kFfnChannel).kept.empty();
  if (unit.kind == UnitKind::kAttention) return attention;
  if (unit.kind == UnitKind::kFfn) return ffn;
  if (unit.kind == UnitKind::kBlock) return attention || ffn;
  return true;
}

}  // namespace espalier
