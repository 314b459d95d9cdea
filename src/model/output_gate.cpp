#include "output_gate.h"

#include <ATen/ATen.h>

#include "espalier/core/error.h"
#include "espalier/model/head_layout.h"

namespace espalier {
namespace {

using at::Tensor;

Tensor Function(GateFunction function, const Tensor& logits) {
  switch (function) {
    case GateFunction::kSigmoid:
      return logits.sigmoid();
    case GateFunction::kSilu:
      return at::silu(logits);
    case GateFunction::kIdentity:
      return logits;
    case GateFunction::kNsSigmoid:
      return 0.5 + 0.5 * logits.sigmoid();
  }
  throw InternalError("unknown gate function");
}

Tensor Logits(const Gate& gate) {
  const GateSignal signal = gate.config.variants.gate_signal;
  if (signal == GateSignal::kNone) return gate.attention.gate_logits.view({1, 1, -1});
  if (signal == GateSignal::kState) return gate.attention.w_output_gate.Apply(gate.state);  // [B, T, N]
  if (!gate.signal.defined())
    throw RecipeError(
        "a gate that reads positions or token embeddings works in training, evaluation and analysis only; use a model "
        "whose gate reads the state here");
  return gate.attention.w_output_gate.Apply(gate.signal);  // [1 or B, T, N]
}

}  // namespace

bool Gate::StandsAt(GatePlace place) const {
  return block.gate != GateKind::kNone && config.variants.gate_place == place;
}

Tensor Gate::Scores(int64_t n) const {
  const int64_t B = state.size(0), T = state.size(1);
  const Variants& variants = config.variants;
  Tensor logits = Logits(*this);
  if (variants.gate_place == GatePlace::kG1 && block.gate == GateKind::kElementwise)
    logits = WholeHeads(block, config.D, logits);
  const int64_t heads = block.gate == GateKind::kSingle ? 1 : n;
  Tensor scores = Function(variants.gate_function, logits);  // [1 or B, 1 or T, heads * width]
  scores = scores.view({logits.size(0), logits.size(1), heads, -1}).transpose(1, 2);
  if (variants.gate_shared) scores = scores.mean(1, /*keepdim=*/true);
  return scores.expand({B, n, T, scores.size(3)});
}

Tensor Gate::Apply(const Tensor& y, int64_t n, const Tap& tap) const {
  const Variants& variants = config.variants;
  const bool is_share =
      variants.gate_function == GateFunction::kSigmoid || variants.gate_function == GateFunction::kNsSigmoid;
  Tensor scores = Scores(n).transpose(1, 2);  // [B, T, n, width or 1]
  const Tensor heads = y.view({y.size(0), y.size(1), n, -1});
  if (variants.gate_apply == GateApply::kAdd) return (heads + scores).view_as(y);
  if (is_share) scores = tap(Site::kGateScore, scores);
  return (heads * scores).view_as(y);
}

Tensor TransformHeads(const ModelConfig& config, const Tensor& y, int64_t n) {
  if (config.variants.head_transform == HeadTransform::kNone) return y;
  if (config.variants.head_transform == HeadTransform::kSilu) return at::silu(y);
  const Tensor heads = y.view({y.size(0), y.size(1), n, -1}).to(at::kFloat);
  const Tensor scale = heads.square().mean(-1, /*keepdim=*/true).add(config.norm_epsilon).rsqrt();  // [B, T, n, 1]
  return (heads * scale).to(y.scalar_type()).view_as(y);
}

}  // namespace espalier
