#include "post_norm.h"

#include <ATen/ATen.h>

#include <cmath>

#include "espalier/model/forward.h"
#include "espalier/model/head_layout.h"
#include "spikes.h"

namespace espalier {
namespace {

using at::Tensor;

// RMSNorm without its gain, in float64 so that rounding cannot break the bound sqrt(C).
Tensor Normed(const Tensor& rows, double epsilon) {
  const Tensor wide = rows.to(at::kDouble);
  return wide * wide.square().mean(1, /*keepdim=*/true).add(epsilon).rsqrt();
}

// Mean over pairs of different rows. With unit rows, |sum|^2 = n + the sum over ordered pairs.
double MeanPairCosine(const Tensor& rows) {
  const auto n = static_cast<double>(rows.size(0));
  if (n < 2) return 1;
  const Tensor unit = rows / rows.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-300);
  return (unit.sum(0).square().sum().item<double>() - n) / (n * (n - 1));
}

}  // namespace

double EffectiveRank(const Tensor& matrix) {
  const Tensor values = at::linalg_svdvals(matrix.to(at::kDouble));
  const double sum = values.sum().item<double>();
  if (sum == 0) return 0;
  const Tensor p = values / sum;
  return std::exp(-at::xlogy(p, p).sum().item<double>());
}

void PostNormMeter::Add(int64_t block, const BlockTaps& taps) {
  const Tensor& h = taps.At(Site::kBlockInput);
  Tensor& held = rows_[static_cast<size_t>(block)];
  const int64_t room = options_.post_norm_tokens - (held.defined() ? held.size(0) : 0);
  if (model_.config.variants.norm != NormKind::kRms) return;
  if (room == 0 || !model_.blocks[static_cast<size_t>(block)].attention_norm.defined()) return;
  const Tensor chosen = SpreadRows(SpikeTokens(h, MedianMagnitude(h), options_), room);
  if (chosen.size(0) == 0) return;
  const Tensor rows = h.flatten(0, 1).index_select(0, chosen);
  held = held.defined() ? at::cat({held, rows}) : rows;
}

PostNorm PostNormMeter::Measure(int64_t l, const std::vector<int64_t>& channels) const {
  const Block& block = model_.blocks[static_cast<size_t>(l)];
  const BlockConfig& sizes = model_.config.blocks[static_cast<size_t>(l)];
  PostNorm measured;
  const Tensor& rows = rows_[static_cast<size_t>(l)];
  if (!rows.defined() || !sizes.HasAttention()) return measured;
  const Tensor normed = Normed(rows, model_.config.norm_epsilon);  // [n, C] float64
  measured.tokens = rows.size(0);
  measured.largest = normed.abs().max().item<double>() / std::sqrt(static_cast<double>(model_.config.C));
  const Tensor energy = normed.square(), on = at::tensor(channels, at::kLong).to(rows.device());
  measured.energy_share = (energy.index_select(1, on).sum(1) / energy.sum(1)).mean().item<double>();
  measured.cosine = MeanPairCosine(normed);
  Linear w_k = block.attention.w_k;
  w_k.bias = Tensor();  // the paper's keys are W_K h~
  const Tensor gained = normed * NormGain(model_.config, block.attention_norm).to(at::kDouble);
  const Tensor keys = w_k.Apply(gained.to(model_.dtype()));  // [n, rows of w_k]
  const HeadLayout layout(sizes, model_.config.D);
  for (int64_t group = 0; group < sizes.G; ++group) {
    const Run rows_of_group = layout.Key(group);
    measured.key_rank +=
        EffectiveRank(keys.narrow(1, rows_of_group.first, rows_of_group.count)) / static_cast<double>(sizes.G);
  }
  return measured;
}

void PostNormMeter::Finish(Phenomena& phenomena) const {
  for (size_t l = 0; l < phenomena.blocks.size(); ++l)
    phenomena.blocks[l].post_norm = Measure(static_cast<int64_t>(l), phenomena.spike_channels);
}

}  // namespace espalier
