#pragma once
// The things that can be removed: units, named the same everywhere.
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace espalier {

// In this version kKvGroup and kFfnChannel can be cut; the other kinds of DESIGN are named when they can.
enum class UnitKind { kKvGroup, kFfnChannel };
std::string_view UnitKindName(UnitKind kind);   // "kv_group", "ffn_channel": what recipes and plans write
UnitKind ParseUnitKind(std::string_view name);  // RecipeError with the nearest names

struct Unit {
  int64_t block = 0;  // 0-based layer
  UnitKind kind = UnitKind::kFfnChannel;
  int64_t index = 0;  // in the dense model's numbering of that block
  auto operator<=>(const Unit&) const = default;
};
std::string UnitText(const Unit& unit);  // "ffn_channel 1229 of block 11"

}  // namespace espalier
