#include "espalier/model/model.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "espalier/core/error.h"

namespace espalier {

at::Tensor Linear::Apply(const at::Tensor& x) const {
  const at::Tensor y = at::linear(x, weight, bias);  // [..., out]
  if (!low_rank) return y;
  return at::add(y, at::linear(at::linear(x, low_rank->a), low_rank->b), low_rank->scale);
}

std::string_view RoleName(Role role) {
  static constexpr std::string_view kNames[] = {"w_q", "w_k", "w_v", "w_o", "w_gate", "w_up", "w_down"};
  return kNames[static_cast<size_t>(role)];
}

const Linear& Block::At(Role role) const {
  switch (role) {
    case Role::kQ:
      return attention.w_q;
    case Role::kK:
      return attention.w_k;
    case Role::kV:
      return attention.w_v;
    case Role::kO:
      return attention.w_o;
    case Role::kGate:
      return ffn.w_gate;
    case Role::kUp:
      return ffn.w_up;
    case Role::kDown:
      return ffn.w_down;
  }
  throw InternalError("unknown role");
}

Linear& Block::At(Role role) {
  return const_cast<Linear&>(std::as_const(*this).At(role));
}

std::vector<NamedTensorRef> TensorsOf(Model& model) {
  std::vector<NamedTensorRef> tensors;
  const auto add = [&tensors](std::string name, at::Tensor& tensor) {
    if (tensor.defined()) tensors.push_back({std::move(name), &tensor});
  };
  add("embedding", model.embedding);
  for (size_t l = 0; l < model.blocks.size(); ++l) {
    Block& block = model.blocks[l];
    add(fmt::format("block{}.attention_norm", l), block.attention_norm);
    add(fmt::format("block{}.ffn_norm", l), block.ffn_norm);
    for (const Role role : kRoles) {
      add(fmt::format("block{}.{}.weight", l, RoleName(role)), block.At(role).weight);
      add(fmt::format("block{}.{}.bias", l, RoleName(role)), block.At(role).bias);
    }
  }
  add("final_norm", model.final_norm);
  add("head", model.head);
  return tensors;
}

Model CopyModel(const Model& model, at::ScalarType dtype, at::Device device) {
  Model copy = model;
  for (const NamedTensorRef& ref : TensorsOf(copy))
    *ref.tensor = ref.tensor->detach().to(device, dtype, /*non_blocking=*/false, /*copy=*/true);
  return copy;
}

namespace {

using Shape = std::vector<int64_t>;

int64_t CountElements(const Model& model, std::string_view prefix) {
  int64_t count = 0;
  for (const NamedTensorRef& ref : TensorsOf(const_cast<Model&>(model)))
    if (ref.name.starts_with(prefix)) count += ref.tensor->numel();
  return count;
}

void CheckShape(const std::string& name, const at::Tensor& tensor, const Shape& expected) {
  if (!tensor.defined())
    throw ShapeError(fmt::format("{}: expected [{}], found no tensor", name, fmt::join(expected, ", ")));
  if (tensor.sizes() != at::IntArrayRef(expected))
    throw ShapeError(
        fmt::format("{}: expected [{}], found [{}]", name, fmt::join(expected, ", "), fmt::join(tensor.sizes(), ", ")));
}

void CheckLinear(const std::string& name, const Linear& linear, int64_t out, int64_t in) {
  CheckShape(name + ".weight", linear.weight, {out, in});
  if (linear.bias.defined()) CheckShape(name + ".bias", linear.bias, {out});
}

void CheckBlock(const std::string& name, const Block& block, const BlockConfig& b, int64_t C, int64_t D) {
  CheckShape(name + ".attention_norm", block.attention_norm, {C});
  CheckShape(name + ".ffn_norm", block.ffn_norm, {C});
  const Shape out_of = {b.H * D, b.G * D, b.G * D, C, b.F, b.F, C};
  const Shape in_of = {C, C, C, b.H * D, C, C, b.F};
  for (size_t i = 0; i < out_of.size(); ++i) {
    const bool present = i < 4 ? b.HasAttention() : b.HasFeedForward();
    if (present) CheckLinear(fmt::format("{}.{}", name, RoleName(kRoles[i])), block.At(kRoles[i]), out_of[i], in_of[i]);
  }
  if (static_cast<int64_t>(b.kv_of_head.size()) != b.H)
    throw ShapeError(fmt::format("{}: kv_of_head has {} entries, expected {}", name, b.kv_of_head.size(), b.H));
  for (const int64_t group : b.kv_of_head)
    if (group < 0 || group >= b.G)
      throw ShapeError(fmt::format("{}: kv_of_head names group {} of {}", name, group, b.G));
}

}  // namespace

int64_t CountParameters(const Model& model) {
  return CountElements(model, "");
}
int64_t CountBlockParameters(const Model& model) {
  return CountElements(model, "block");
}

void CheckShapes(const Model& model) {
  const ModelConfig& c = model.config;
  CheckShape("embedding", model.embedding, {c.V, c.C});
  CheckShape("final_norm", model.final_norm, {c.C});
  if (!c.tied_head) CheckShape("head", model.head, {c.V, c.C});
  ESPALIER_CHECK(model.blocks.size() == c.blocks.size(), "blocks and their configurations differ in number");
  for (size_t l = 0; l < model.blocks.size(); ++l)
    CheckBlock(fmt::format("block{}", l), model.blocks[l], c.blocks[l], c.C, c.D);
}

}  // namespace espalier
