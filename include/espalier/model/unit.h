#pragma once
// The things that can be removed: units, named the same everywhere.
#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace espalier {

enum class Role;  // model/model.h

enum class UnitKind {
  kKvGroup,
  kQueryHead,
  kValueChannel,
  kQkPair,
  kFfnChannel,
  kAttention,
  kFfn,
  kBlock,
  kResidualChannel
};

// How much of a block a unit is: a slice of a sublayer's width; a whole sublayer or block; a channel of every block.
enum class UnitScope { kWidth, kSublayer, kModel };

struct UnitKindInfo {
  UnitKind kind;
  std::string_view name;    // "kv_group": what recipes write
  std::string_view plural;  // "kv_groups": what plans write
  std::string_view doc;     // what it owns, one line
  UnitScope scope;
};
// Every kind once, in the order of the enumeration.
std::span<const UnitKindInfo> UnitKinds();
const UnitKindInfo& InfoOf(UnitKind kind);

std::string_view UnitKindName(UnitKind kind);
UnitKind ParseUnitKind(std::string_view name);  // RecipeError with the nearest names

// Units of the model as a whole: their Unit::block is kWholeModel.
inline constexpr int64_t kWholeModel = -1;
bool PerModel(UnitKind kind);

// The linear layers whose input columns units of this kind feed: w_o, w_down, or for a block both. Empty for the kinds
// that feed none: a rotary pair is read by the softmax alone, and a residual channel is an input of everything.
std::span<const Role> Consumers(UnitKind kind);

struct Unit {
  int64_t block = 0;  // 0-based layer; kWholeModel for kinds of the model as a whole
  UnitKind kind = UnitKind::kFfnChannel;
  int64_t index = 0;  // in the numbering of the model before the cut; see UnitSpace
  auto operator<=>(const Unit&) const = default;
};
std::string UnitText(const Unit& unit);  // "ffn_channel 1229 of block 11", "attention of block 3", "residual_channel 5"

}  // namespace espalier
