#include "espalier/model/unit.h"

#include <fmt/format.h>

#include "espalier/core/error.h"

namespace espalier {

std::string_view UnitKindName(UnitKind kind) {
  return kind == UnitKind::kKvGroup ? "kv_group" : "ffn_channel";
}

UnitKind ParseUnitKind(std::string_view name) {
  std::vector<std::string> known;
  for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel}) {
    if (UnitKindName(kind) == name) return kind;
    known.emplace_back(UnitKindName(kind));
  }
  throw RecipeError(UnknownName("unit kind", name, known));
}

std::string UnitText(const Unit& unit) {
  return fmt::format("{} {} of block {}", UnitKindName(unit.kind), unit.index, unit.block);
}

}  // namespace espalier
