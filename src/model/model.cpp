#include "espalier/model/model.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/model/head_layout.h"
#include "shape_checks.h"

namespace espalier {

at::Tensor Linear::Apply(const at::Tensor& x) const {
  const at::Tensor y = at::linear(x, weight, bias);  // [..., out]
  if (!low_rank) return y;
  return at::add(y, at::linear(at::linear(x, low_rank->a), low_rank->b), low_rank->scale);
}

std::string_view RoleName(Role role) {
  static constexpr std::string_view kNames[] = {"w_q", "w_output_gate", "w_k",  "w_v",
                                                "w_o", "w_gate",        "w_up", "w_down"};
  return kNames[static_cast<size_t>(role)];
}

std::string_view VectorRoleName(VectorRole role) {
  static constexpr std::string_view kNames[] = {"attention_norm", "attention_post_norm", "q_norm",   "k_norm",
                                                "sink_logits",    "gate_logits",         "key_bias", "value_bias",
                                                "ffn_norm",       "ffn_post_norm"};
  return kNames[static_cast<size_t>(role)];
}

bool OfAttention(Role role) {
  return role != Role::kGate && role != Role::kUp && role != Role::kDown;
}

double ModelConfig::AttentionScale() const {
  return attention_scale.value_or(1 / std::sqrt(static_cast<double>(D)));
}

const Linear& Block::At(Role role) const {
  switch (role) {
    case Role::kQ:
      return attention.w_q;
    case Role::kOutputGate:
      return attention.w_output_gate;
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

const at::Tensor& Block::At(VectorRole role) const {
  switch (role) {
    case VectorRole::kAttentionNorm:
      return attention_norm;
    case VectorRole::kAttentionPostNorm:
      return attention_post_norm;
    case VectorRole::kQNorm:
      return attention.q_norm;
    case VectorRole::kKNorm:
      return attention.k_norm;
    case VectorRole::kSinkLogits:
      return attention.sink_logits;
    case VectorRole::kGateLogits:
      return attention.gate_logits;
    case VectorRole::kKeyBias:
      return attention.key_bias;
    case VectorRole::kValueBias:
      return attention.value_bias;
    case VectorRole::kFfnNorm:
      return ffn_norm;
    case VectorRole::kFfnPostNorm:
      return ffn_post_norm;
  }
  throw InternalError("unknown vector role");
}

at::Tensor& Block::At(VectorRole role) {
  return const_cast<at::Tensor&>(std::as_const(*this).At(role));
}

std::vector<NamedTensorRef> TensorsOf(Model& model) {
  std::vector<NamedTensorRef> tensors;
  const auto add = [&tensors](std::string name, at::Tensor& tensor) {
    if (tensor.defined()) tensors.push_back({std::move(name), &tensor});
  };
  add("embedding", model.embedding);
  for (size_t l = 0; l < model.blocks.size(); ++l) {
    Block& block = model.blocks[l];
    for (const VectorRole role : kVectorRoles) add(fmt::format("block{}.{}", l, VectorRoleName(role)), block.At(role));
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

// The dimensions that ragged heads keep: a list for each group, ascending, below D.
void CheckDimensions(const std::string& name, const char* what, const std::vector<std::vector<int64_t>>& kept,
                     const BlockConfig& b, int64_t D) {
  if (!kept.empty() && static_cast<int64_t>(kept.size()) != b.G)
    throw ShapeError(fmt::format("{}: {} of {} KV groups, expected {}", name, what, kept.size(), b.G));
  for (const Shape& dimensions : kept)
    for (size_t i = 0; i < dimensions.size(); ++i)
      if (dimensions[i] < (i > 0 ? dimensions[i - 1] + 1 : 0) || dimensions[i] >= D)
        throw ShapeError(fmt::format("{}: {}: found [{}], expected ascending numbers below {}", name, what,
                                     fmt::join(dimensions, ", "), D));
}

void CheckHeads(const std::string& name, const BlockConfig& b, int64_t D) {
  if (static_cast<int64_t>(b.kv_of_head.size()) != b.H)
    throw ShapeError(fmt::format("{}: kv_of_head has {} entries, expected {}", name, b.kv_of_head.size(), b.H));
  for (const int64_t group : b.kv_of_head)
    if (group < 0 || group >= b.G)
      throw ShapeError(fmt::format("{}: kv_of_head names group {} of {}", name, group, b.G));
  CheckDimensions(name, "value_channels", b.value_channels, b, D);
  CheckDimensions(name, "qk_dims", b.qk_dims, b, D);
}

}  // namespace

void CheckBlockShapes(const Model& model, int64_t l) {
  const ModelConfig& config = model.config;
  const Block& block = model.blocks[static_cast<size_t>(l)];
  const std::string name = fmt::format("block{}", l);
  CheckHeads(name, config.blocks[static_cast<size_t>(l)], config.D);
  for (const VectorRole role : kVectorRoles)
    if (const Shape shape = ExpectedShape(config, l, role); !shape.empty())
      CheckShape(fmt::format("{}.{}", name, VectorRoleName(role)), block.At(role), shape);
  for (const Role role : kRoles) {
    const Shape shape = ExpectedShape(config, l, role);
    if (shape.empty()) continue;
    CheckShape(fmt::format("{}.{}.weight", name, RoleName(role)), block.At(role).weight, shape);
    if (block.At(role).bias.defined())
      CheckShape(fmt::format("{}.{}.bias", name, RoleName(role)), block.At(role).bias, {shape[0]});
  }
}

std::vector<int64_t> ExpectedShape(const ModelConfig& config, int64_t l, Role role) {
  const BlockConfig& b = config.blocks[static_cast<size_t>(l)];
  const int64_t C = config.C, D = config.D;
  if (!(OfAttention(role) ? b.HasAttention() : b.HasFeedForward())) return {};
  switch (role) {
    case Role::kQ:
      return {HeadLayout(b, D).query_rows(), C};
    case Role::kOutputGate:
      if (b.gate == GateKind::kNone || config.variants.gate_signal == GateSignal::kNone) return {};
      return {GateScores(config, b), C};
    case Role::kK:
      return {HeadLayout(b, D).key_rows(), C};
    case Role::kV:
      return {HeadLayout(b, D).value_rows(), C};
    case Role::kO:
      return {C, HeadLayout(b, D).output_columns()};
    case Role::kGate:
      return config.variants.ffn == FfnKind::kGated ? Shape{b.F, C} : Shape{};
    case Role::kUp:
      return config.variants.ffn != FfnKind::kLinear ? Shape{b.F, C} : Shape{};
    case Role::kDown:
      return {C, b.F};
  }
  throw InternalError("unknown role");
}

std::vector<int64_t> ExpectedShape(const ModelConfig& config, int64_t l, VectorRole role) {
  const BlockConfig& b = config.blocks[static_cast<size_t>(l)];
  const bool all_heads = config.qk_norm == QkNorm::kAllHeads;
  const auto when = [](bool present, int64_t size) { return present ? Shape{size} : Shape{}; };
  switch (role) {
    case VectorRole::kAttentionNorm:
    case VectorRole::kFfnNorm:
      return when(NormsInput(config.norm_placement), NormSize(config));
    case VectorRole::kAttentionPostNorm:
    case VectorRole::kFfnPostNorm:
      return when(config.norm_placement != NormPlacement::kPre, NormSize(config));
    case VectorRole::kQNorm:
      return when(config.qk_norm != QkNorm::kNone && b.HasAttention(),
                  all_heads ? HeadLayout(b, config.D).query_rows() : config.D);
    case VectorRole::kKNorm:
      return when(config.qk_norm != QkNorm::kNone && b.HasAttention(),
                  all_heads ? HeadLayout(b, config.D).key_rows() : config.D);
    case VectorRole::kSinkLogits:
      return when(b.sink_logits && b.HasAttention(), b.H);
    case VectorRole::kGateLogits:
      return when(GateScores(config, b) > 0 && config.variants.gate_signal == GateSignal::kNone, GateScores(config, b));
    case VectorRole::kKeyBias:
    case VectorRole::kValueBias:
      return when(config.variants.kv_bias && b.HasAttention(), b.G * config.D);
  }
  throw InternalError("unknown vector role");
}

int64_t CountParameters(const Model& model) {
  return CountElements(model, "");
}
int64_t CountBlockParameters(const Model& model) {
  return CountElements(model, "block");
}

bool SameTensors(const Model& a, const Model& b) {
  Model mine = a, other = b;  // TensorsOf gives what may be changed; these share all tensors
  const std::vector<NamedTensorRef> left = TensorsOf(mine), right = TensorsOf(other);
  return a.edit == b.edit && std::equal(left.begin(), left.end(), right.begin(), right.end(),
                                        [](const NamedTensorRef& x, const NamedTensorRef& y) {
                                          return x.name == y.name && x.tensor->is_same(*y.tensor);
                                        });
}

void CheckFrameShapes(const Model& model) {
  const ModelConfig& c = model.config;
  CheckShape("embedding", model.embedding, {c.V, c.C});
  CheckShape("final_norm", model.final_norm, {NormSize(c)});
  if (!c.tied_head) CheckShape("head", model.head, {c.V, c.C});
  ESPALIER_CHECK(model.blocks.size() == c.blocks.size(), "blocks and their configurations differ in number");
}

void CheckShapes(const Model& model) {
  CheckFrameShapes(model);
  for (int64_t l = 0; l < model.config.L(); ++l) CheckBlockShapes(model, l);
}

}  // namespace espalier
