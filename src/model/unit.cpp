#include "espalier/model/unit.h"

#include <fmt/format.h>

#include <array>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr std::array kKinds = {UnitKind::kKvGroup, UnitKind::kFfnChannel};

}  // namespace

std::string_view UnitKindName(UnitKind kind) {
  return kind == UnitKind::kKvGroup ? "kv_group" : "ffn_channel";
}

UnitKind ParseUnitKind(std::string_view name) {
  std::vector<std::string> known;
  for (UnitKind kind : kKinds) {
    if (name == UnitKindName(kind)) return kind;
    known.emplace_back(UnitKindName(kind));
  }
  throw RecipeError(UnknownName("unit kind", name, known));
}

std::string UnitText(const Unit& unit) {
  return fmt::format("{} {} of block {}", UnitKindName(unit.kind), unit.index, unit.block);
}

}  // namespace espalier
