#include "regime.h"

#include <ATen/ATen.h>

#include "espalier/model/forward.h"
#include "spikes.h"

namespace espalier {

using at::Tensor;

void RegimeMeter::Add(const BlockTaps& taps, const Tensor& spike_tokens) {
  if (!taps.At(Site::kFfnHidden).defined() || !w_gate_.defined()) return;  // no FFN, or one without gate
  const Tensor normed = taps.At(Site::kFfnNorm).flatten(0, 1);             // [B*T, C]
  AddKind(normed, spike_tokens, spike_);
  AddKind(normed, spike_tokens.logical_not(), other_);
}

void RegimeMeter::AddKind(const Tensor& normed, const Tensor& mask, Kind& kind) const {
  const Tensor rows = SpreadRows(mask, options_.regime_tokens - kind.tokens);
  if (rows.size(0) == 0) return;
  const Tensor gate = w_gate_.Apply(normed.index_select(0, rows));  // [n, F]
  const Tensor x = gate.to(at::kDouble), y = Activate(config_, gate).to(at::kDouble);
  constexpr double kTiny = 1e-300;  // a token whose pre-activations are all 0 counts as 0
  const Tensor in = x.norm(2, {1}).clamp_min(kTiny), out = y.norm(2, {1});
  kind.ratio += (out / in).sum().item<double>();
  kind.cosine += ((x * y).sum(1) / in / out.clamp_min(kTiny)).sum().item<double>();
  kind.tokens += rows.size(0);
}

void RegimeMeter::Finish(BlockPhenomena& block) const {
  const auto mean = [](double sum, int64_t n) { return n > 0 ? sum / static_cast<double>(n) : 0; };
  block.regime.spike_tokens = spike_.tokens;
  block.regime.spike_cosine = mean(spike_.cosine, spike_.tokens);
  block.regime.spike_ratio = mean(spike_.ratio, spike_.tokens);
  block.regime.other_cosine = mean(other_.cosine, other_.tokens);
  block.regime.other_ratio = mean(other_.ratio, other_.tokens);
}

}  // namespace espalier
