// Massive activations set to zero, to their mean, or scaled: Sun et al. 2024, arXiv 2402.17762, section 4.1.
#include "spike_edits.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <map>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

using at::Tensor;

struct Target {
  Site site = Site::kBlockOutput;
  double threshold = 0;  // |h| above which a value spikes
  Tensor means;          // [channels] float64, mean spiking value of each
};
using Targets = std::map<int64_t, std::vector<Target>>;  // by block

Targets FindTargets(const Phenomena& phenomena) {
  Targets targets;
  for (const Sublayer& step : phenomena.step_up) {
    const BlockPhenomena& block = phenomena.blocks[static_cast<size_t>(step.block)];
    const Census& census = step.attention ? block.attention : block.ffn;
    targets[step.block].push_back({step.attention ? Site::kAttnResidual : Site::kBlockOutput,
                                   phenomena.spike_ratio * census.residual_median,
                                   {}});
  }
  return targets;
}

class SpikeEdit : public Edit {
 public:
  SpikeEdit(InterventionKind kind, double factor, Tensor channels, Targets targets)
      : kind_(kind), factor_(factor), channels_(std::move(channels)), targets_(std::move(targets)) {}

  Tensor Replace(int64_t block, Site site, const Tensor& value) override {
    const auto found = targets_.find(block);
    if (found == targets_.end()) return value;
    for (const Target& target : found->second)
      if (target.site == site) return Changed(value, target);
    return value;
  }

 private:
  Tensor Changed(const Tensor& value, const Target& target) const {
    const Tensor at_channels = value.index_select(2, channels_);  // [B, T, channels]
    const Tensor spiking = at_channels.abs() > target.threshold;  // [B, T, channels]
    if (kind_ == InterventionKind::kMedian) return WithoutMedians(value, spiking.sum(2));
    Tensor replaced = at_channels * factor_;
    if (kind_ == InterventionKind::kSpikeMean) replaced = target.means.to(value.options()).expand_as(at_channels);
    return value.index_copy(2, channels_, at::where(spiking, replaced, at_channels));
  }

  // `count` [B, T] values of each token, the ones nearest to the token's median magnitude, become zero.
  static Tensor WithoutMedians(const Tensor& value, const Tensor& count) {
    const Tensor magnitude = value.abs();
    const Tensor distance = (magnitude - std::get<0>(magnitude.median(2, /*keepdim=*/true))).abs();
    const Tensor rank = distance.argsort(int64_t{2}).argsort(int64_t{2});  // [B, T, C]
    return value.masked_fill(rank < count.unsqueeze(2), 0);
  }

  InterventionKind kind_;
  double factor_;
  Tensor channels_;
  Targets targets_;
};

// Means of the spiking values over the windows, as the unchanged model has them.
void FillMeans(const Model& model, const Tensor& windows, const Tensor& channels, Targets& targets) {
  std::map<std::pair<int64_t, Site>, std::pair<Tensor, Tensor>> sums;  // sum and count of each channel
  const auto visit = [&](int64_t l, int64_t, const BlockTaps& taps) {
    const auto found = targets.find(l);
    if (found == targets.end()) return;
    for (const Target& target : found->second) {
      const Tensor value = taps.At(target.site).index_select(2, channels).flatten(0, 1).to(at::kDouble);
      const Tensor spiking = (value.abs() > target.threshold).to(at::kDouble);
      auto [sum, added] = sums.try_emplace({l, target.site});
      if (added) sum->second = {at::zeros_like(value[0]), at::zeros_like(value[0])};
      sum->second.first += (value * spiking).sum(0);
      sum->second.second += spiking.sum(0);
    }
  };
  StreamBlocks(model, windows, /*batch=*/4, {Site::kAttnResidual, Site::kBlockOutput}, "means of spikes", visit);
  for (auto& [block, list] : targets)
    for (Target& target : list) {
      const auto& [sum, count] = sums.at({block, target.site});
      target.means = sum / count.clamp_min(1);
    }
}

}  // namespace

std::shared_ptr<Edit> MakeSpikeEdit(const Model& model, const Intervention& intervention, const Phenomena& phenomena,
                                    const Tensor& windows) {
  if (phenomena.spike_channels.empty() || phenomena.step_up.empty())
    throw RecipeError(fmt::format("intervention '{}': nothing spikes in this model (spike_ratio {})", intervention.text,
                                  phenomena.spike_ratio));
  Targets targets = FindTargets(phenomena);
  const Tensor channels = at::tensor(phenomena.spike_channels, at::kLong).to(model.device());
  if (intervention.kind == InterventionKind::kSpikeMean) FillMeans(model, windows, channels, targets);
  return std::make_shared<SpikeEdit>(intervention.kind, intervention.factor, channels, std::move(targets));
}

}  // namespace espalier
