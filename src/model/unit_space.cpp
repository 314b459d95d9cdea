#include "espalier/model/unit_space.h"

#include <ATen/ATen.h>

#include "espalier/core/error.h"

namespace espalier {
namespace {

const Block& BlockOf(const Model& model, int64_t block) {
  return model.blocks.at(static_cast<size_t>(block));
}
const BlockConfig& SizesOf(const Model& model, int64_t block) {
  return model.config.blocks.at(static_cast<size_t>(block));
}

}  // namespace

UnitSpace::UnitSpace(const Model& model, int64_t block, UnitKind kind)
    : config_(model.config),
      weights_(BlockOf(model, block)),
      sizes_(SizesOf(model, block)),
      kind_(kind),
      D_(model.config.D),
      size_(kind == UnitKind::kKvGroup ? sizes_.G : sizes_.F) {}

std::vector<Slice> UnitSpace::Owns(int64_t unit) const {
  ESPALIER_CHECK(unit >= 0 && unit < size_, "no such unit");
  if (kind_ == UnitKind::kFfnChannel)
    return {
        {Role::kGate, Axis::kRows, unit, 1}, {Role::kUp, Axis::kRows, unit, 1}, {Role::kDown, Axis::kColumns, unit, 1}};
  const int64_t gate = sizes_.gate == GateKind::kElementwise ? D_ : 1;  // rows of the gate a head
  std::vector<Slice> slices = {{Role::kK, Axis::kRows, unit * D_, D_}, {Role::kV, Axis::kRows, unit * D_, D_}};
  for (const int64_t head : HeadsOf(unit)) {
    slices.push_back({Role::kQ, Axis::kRows, head * D_, D_});
    if (sizes_.gate != GateKind::kNone) slices.push_back({Role::kOutputGate, Axis::kRows, head * gate, gate});
    slices.push_back({Role::kO, Axis::kColumns, head * D_, D_});
  }
  return slices;
}

std::vector<VectorSlice> UnitSpace::OwnsOfVectors(int64_t unit) const {
  std::vector<VectorSlice> slices;
  if (kind_ != UnitKind::kKvGroup) return slices;
  const bool all_heads = config_.qk_norm == QkNorm::kAllHeads;
  if (all_heads) slices.push_back({VectorRole::kKNorm, unit * D_, D_});
  for (const int64_t head : HeadsOf(unit)) {
    if (all_heads) slices.push_back({VectorRole::kQNorm, head * D_, D_});
    if (sizes_.sink_logits) slices.push_back({VectorRole::kSinkLogits, head, 1});
  }
  return slices;
}

std::vector<int64_t> UnitSpace::HeadsOf(int64_t group) const {
  std::vector<int64_t> heads;
  for (int64_t head = 0; head < sizes_.H; ++head)
    if (sizes_.kv_of_head[static_cast<size_t>(head)] == group) heads.push_back(head);
  return heads;
}

UnitCost UnitSpace::Cost(int64_t unit) const {
  UnitCost cost;
  for (const Slice& slice : Owns(unit)) {
    const Linear& linear = weights_.At(slice.role);
    const int64_t across = linear.weight.size(slice.axis == Axis::kRows ? 1 : 0);
    cost.parameters += slice.count * across;
    cost.macs += slice.count * across;
    if (slice.axis == Axis::kRows && linear.bias.defined()) cost.parameters += slice.count;
    if (slice.role == Role::kK || slice.role == Role::kV) cost.kv_width += slice.count;
  }
  for (const VectorSlice& slice : OwnsOfVectors(unit)) cost.parameters += slice.count;
  return cost;
}

std::vector<int64_t> UnitSpace::ConsumerColumns(int64_t unit) const {
  std::vector<int64_t> columns;
  for (const Slice& slice : Owns(unit))
    if (slice.role == consumer() && slice.axis == Axis::kColumns)
      for (int64_t i = 0; i < slice.count; ++i) columns.push_back(slice.first + i);
  return columns;
}

}  // namespace espalier
