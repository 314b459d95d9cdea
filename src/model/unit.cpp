#include "espalier/model/unit.h"

#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/model/model.h"

namespace espalier {
namespace {

using enum UnitScope;

constexpr UnitKindInfo kKinds[] = {
    {UnitKind::kKvGroup, "kv_group", "kv_groups", "One key/value head and the query heads that read it", kWidth},
    {UnitKind::kQueryHead, "query_head", "query_heads", "One query head; its group stays while another reads it",
     kWidth},
    {UnitKind::kValueChannel, "value_channel", "value_channels",
     "One value dimension of one KV group: a row of w_v and its column of w_o in each head of the group", kWidth},
    {UnitKind::kQkPair, "qk_pair", "qk_pairs",
     "One rotary pair of one KV group: two rows of w_k and of w_q in each head of the group", kWidth},
    {UnitKind::kFfnChannel, "ffn_channel", "ffn_channels",
     "One FFN neuron: its rows of w_gate and w_up, its column of w_down", kWidth},
    {UnitKind::kAttention, "attention", "attentions", "The attention of a block", kSublayer},
    {UnitKind::kFfn, "ffn", "ffns", "The FFN of a block", kSublayer},
    {UnitKind::kBlock, "block", "blocks", "Attention and FFN of a block", kSublayer},
    {UnitKind::kResidualChannel, "residual_channel", "residual_channels",
     "One channel of the residual stream: in the embedding, the head, every norm and every layer that reads or writes",
     kModel},
};

constexpr Role kOutput[] = {Role::kO};
constexpr Role kDown[] = {Role::kDown};
constexpr Role kBoth[] = {Role::kO, Role::kDown};

}  // namespace

std::span<const UnitKindInfo> UnitKinds() {
  return kKinds;
}

const UnitKindInfo& InfoOf(UnitKind kind) {
  return kKinds[static_cast<size_t>(kind)];
}

std::string_view UnitKindName(UnitKind kind) {
  return InfoOf(kind).name;
}

UnitKind ParseUnitKind(std::string_view name) {
  std::vector<std::string> known;
  for (const UnitKindInfo& info : kKinds) {
    if (info.name == name) return info.kind;
    known.emplace_back(info.name);
  }
  throw RecipeError(UnknownName("unit kind", name, known));
}

bool PerModel(UnitKind kind) {
  return InfoOf(kind).scope == kModel;
}

std::span<const Role> Consumers(UnitKind kind) {
  switch (kind) {
    case UnitKind::kKvGroup:
    case UnitKind::kQueryHead:
    case UnitKind::kValueChannel:
    case UnitKind::kAttention:
      return kOutput;
    case UnitKind::kFfnChannel:
    case UnitKind::kFfn:
      return kDown;
    case UnitKind::kBlock:
      return kBoth;
    case UnitKind::kQkPair:
    case UnitKind::kResidualChannel:
      return {};
  }
  throw InternalError("unknown unit kind");
}

std::string UnitText(const Unit& unit) {
  if (PerModel(unit.kind)) return fmt::format("{} {}", UnitKindName(unit.kind), unit.index);
  if (unit.kind == UnitKind::kBlock) return fmt::format("block {}", unit.block);
  if (InfoOf(unit.kind).scope == kSublayer) return fmt::format("{} of block {}", UnitKindName(unit.kind), unit.block);
  return fmt::format("{} {} of block {}", UnitKindName(unit.kind), unit.index, unit.block);
}

}  // namespace espalier
