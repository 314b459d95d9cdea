#include "espalier/model/unit.h"

#include <fmt/format.h>

#include "espalier/core/error.h"

namespace espalier {

std::string_view UnitKindName(UnitKind kind) { return kind == UnitKind::kKvGroup ? "kv_group" : "ffn_channel"; }

UnitKind ParseUnitKind(std::string_view name) {
  for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel})
    if (UnitKindName(kind) == name) return kind;
  throw RecipeError(UnknownName("unit kind", name, {"ffn_channel", "kv_group"}));
}

std::string UnitText(const Unit& unit) {
  return fmt::format("{} {} of block {}", UnitKindName(unit.kind), unit.index, unit.block);
}

}  // namespace espalier
