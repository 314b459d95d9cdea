#include "attention_sums.h"

#include <ATen/ATen.h>

#include "sums.h"

namespace espalier {

void AddAttention(const BlockTaps& taps, NamedSums& sums) {
  const at::Tensor &probs = taps.At(Site::kAttnProbs), &gate = taps.At(Site::kGateScore);
  if (probs.defined())  // [B, H, T, T]
    AddTo(sums, "sink_mass", probs.select(3, 0).slice(2, 1).sum({0, 2}, /*keepdim=*/false, at::kDouble).cpu());  // [H]
  if (gate.defined())  // [B, T, H, D or 1]
    AddTo(sums, "gate_score", gate.to(at::kFloat).mean(3).sum({0, 1}, /*keepdim=*/false, at::kDouble).cpu());  // [H]
}

}  // namespace espalier
