#include "heads.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace espalier {

bool MadeOfHeads(UnitKind kind) {
  return kind == UnitKind::kQueryHead || kind == UnitKind::kKvGroup;
}

at::Tensor HeadsToUnits(const ScoreInput& input, std::string_view scorer, const at::Tensor& of_heads) {
  const BlockConfig& sizes = input.model.config.blocks.at(static_cast<size_t>(input.block));
  if (of_heads.size(0) != sizes.H)
    throw ShapeError(fmt::format("{}: block {}: statistics of {} heads, the model has {}; calibrate this model again",
                                 scorer, input.block, of_heads.size(0), sizes.H));
  if (input.kind == UnitKind::kQueryHead) return of_heads.unsqueeze(1);
  const at::Tensor group = at::tensor(sizes.kv_of_head, at::kLong);
  const at::Tensor sum = at::zeros({sizes.G}, at::kDouble).index_add_(0, group, of_heads);
  return (sum / at::bincount(group, {}, sizes.G)).unsqueeze(1);
}

}  // namespace espalier
