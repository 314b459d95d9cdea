#include "espalier/prune/cut.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <set>

#include "espalier/core/error.h"
#include "espalier/model/forward.h"
#include "espalier/model/unit_space.h"

namespace espalier {
namespace {

using at::Tensor;

// Indices that go, of each role and axis of one block.
struct Gone {
  std::map<std::pair<Role, Axis>, std::set<int64_t>> linear;
  std::map<VectorRole, std::set<int64_t>> vectors;
};

std::vector<int64_t> RemovedUnits(int64_t count, const std::vector<int64_t>& kept) {
  std::vector<int64_t> removed;
  size_t next = 0;
  for (int64_t unit = 0; unit < count; ++unit) {
    if (next < kept.size() && kept[next] == unit)
      ++next;
    else
      removed.push_back(unit);
  }
  return removed;
}

Gone GoneIn(const Model& model, int64_t l, const BlockPlan& plan) {
  Gone gone;
  for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel}) {
    const UnitSpace space(model, l, kind);
    for (const int64_t unit :
         RemovedUnits(space.size(), kind == UnitKind::kKvGroup ? plan.kv_groups : plan.ffn_channels)) {
      for (const Slice& slice : space.Owns(unit))
        for (int64_t i = 0; i < slice.count; ++i) gone.linear[{slice.role, slice.axis}].insert(slice.first + i);
      for (const VectorSlice& slice : space.OwnsOfVectors(unit))
        for (int64_t i = 0; i < slice.count; ++i) gone.vectors[slice.role].insert(slice.first + i);
    }
  }
  return gone;
}

Tensor IndexTensor(const std::vector<int64_t>& indices, const Tensor& like) {
  return at::tensor(indices, at::kLong).to(like.device());
}

void CutLinear(Linear& linear, Axis axis, const std::set<int64_t>& gone) {
  const int64_t dim = axis == Axis::kRows ? 0 : 1;
  const Tensor kept = IndexTensor(RemovedUnits(linear.weight.size(dim), {gone.begin(), gone.end()}), linear.weight);
  linear.weight = linear.weight.index_select(dim, kept);
  if (axis == Axis::kRows && linear.bias.defined()) linear.bias = linear.bias.index_select(0, kept);
}

void MaskLinear(Linear& linear, Axis axis, const std::set<int64_t>& gone) {
  const int64_t dim = axis == Axis::kRows ? 0 : 1;
  const Tensor index = IndexTensor({gone.begin(), gone.end()}, linear.weight);
  linear.weight = linear.weight.index_fill(dim, index, 0);
  if (axis == Axis::kRows && linear.bias.defined()) linear.bias = linear.bias.index_fill(0, index, 0);
}

// A norm over all heads divides by the root mean square of all of them. Masked heads add zeros to that mean; the cut
// model takes the mean over fewer, a larger one, so that its factor grows by the root of what is gone. (Exact but for
// epsilon, which is not scaled.)
void CutVector(VectorRole role, Tensor& vector, const std::set<int64_t>& gone) {
  const Tensor kept = IndexTensor(RemovedUnits(vector.size(0), {gone.begin(), gone.end()}), vector);
  const double share = static_cast<double>(kept.size(0)) / static_cast<double>(vector.size(0));
  vector = vector.index_select(0, kept);
  if (role == VectorRole::kQNorm || role == VectorRole::kKNorm) vector = vector / std::sqrt(share);
}

// Query heads whose group stays, reading the renumbered groups.
BlockConfig CutSizes(const BlockConfig& sizes, const BlockPlan& plan) {
  BlockConfig cut = sizes;
  cut.kv_of_head.clear();
  std::map<int64_t, int64_t> renumbered;
  for (const int64_t group : plan.kv_groups) renumbered.emplace(group, static_cast<int64_t>(renumbered.size()));
  for (const int64_t group : sizes.kv_of_head)
    if (renumbered.contains(group)) cut.kv_of_head.push_back(renumbered.at(group));
  cut.H = static_cast<int64_t>(cut.kv_of_head.size());
  cut.G = static_cast<int64_t>(plan.kv_groups.size());
  cut.F = static_cast<int64_t>(plan.ffn_channels.size());
  return cut;
}

// A sublayer that lost everything leaves at most the constant of its output projection.
void DropEmpty(Block& block, const BlockConfig& sizes) {
  if (!sizes.HasAttention()) {
    Attention constant;
    constant.w_o.bias = block.attention.w_o.bias;
    block.attention = constant;
  }
  if (!sizes.HasFeedForward()) {
    FeedForward constant;
    constant.w_down.bias = block.ffn.w_down.bias;
    block.ffn = constant;
  }
}

void CheckFits(const Model& model, const Plan& plan) {
  if (plan.blocks.size() != model.blocks.size())
    throw RecipeError(fmt::format("plan: {} blocks, the model has {}; plan this model again", plan.blocks.size(),
                                  model.blocks.size()));
  for (size_t l = 0; l < plan.blocks.size(); ++l) {
    const BlockConfig& sizes = model.config.blocks[l];
    if (plan.blocks[l].kv_groups_before != sizes.G || plan.blocks[l].ffn_channels_before != sizes.F)
      throw RecipeError(fmt::format(
          "plan: block {}: made for {} KV groups and {} FFN channels, the model has {} and {}; plan this model again",
          l, plan.blocks[l].kv_groups_before, plan.blocks[l].ffn_channels_before, sizes.G, sizes.F));
  }
}

}  // namespace

Model Cut(const Model& model, const Plan& plan) {
  CheckFits(model, plan);
  Model cut = model;
  for (size_t l = 0; l < plan.blocks.size(); ++l) {
    const Gone all = GoneIn(model, static_cast<int64_t>(l), plan.blocks[l]);
    for (const auto& [where, gone] : all.linear) CutLinear(cut.blocks[l].At(where.first), where.second, gone);
    for (const auto& [role, gone] : all.vectors) CutVector(role, cut.blocks[l].At(role), gone);
    cut.config.blocks[l] = CutSizes(model.config.blocks[l], plan.blocks[l]);
    DropEmpty(cut.blocks[l], cut.config.blocks[l]);
  }
  CheckShapes(cut);
  return cut;
}

Model Mask(const Model& model, const Plan& plan) {
  CheckFits(model, plan);
  Model masked = model;
  // Vectors need no mask: a head without query, key, value and output does nothing, whatever its norm or sink logit.
  for (size_t l = 0; l < plan.blocks.size(); ++l)
    for (const auto& [where, gone] : GoneIn(model, static_cast<int64_t>(l), plan.blocks[l]).linear)
      MaskLinear(masked.blocks[l].At(where.first), where.second, gone);
  return masked;
}

double CheckCutEqualsMask(const Model& cut, const Model& masked, const Tensor& ids, double limit) {
  const at::NoGradGuard no_grad;
  const Tensor a = Logits(cut, ids).to(at::kFloat), b = Logits(masked, ids).to(at::kFloat);
  const double difference = (a - b).abs().max().item<double>() / std::max(b.abs().max().item<double>(), 1e-30);
  if (!(difference <= limit))
    throw NumericError(
        fmt::format("self-check: logits of the cut model differ from the masked model's by {:.2e} (relative), expected "
                    "at most {:.0e}; "
                    "please report this",
                    difference, limit));
  return difference;
}

std::vector<int64_t> KeptColumns(const Model& model, int64_t block, UnitKind kind, const std::vector<int64_t>& kept) {
  const UnitSpace space(model, block, kind);
  std::vector<int64_t> columns;
  for (const int64_t unit : kept)
    for (const int64_t column : space.ConsumerColumns(unit)) columns.push_back(column);
  std::sort(columns.begin(), columns.end());
  return columns;
}

}  // namespace espalier
