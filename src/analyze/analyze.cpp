#include "espalier/analyze/analyze.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "espalier/core/error.h"
#include "sinks.h"
#include "spikes.h"

namespace espalier {
namespace {

bool Spikes(const BlockPhenomena& block, double value, double ratio) {
  return std::abs(value) > ratio * block.ffn.residual_median;
}

// A write that makes up a large share of a spiking value steps it up; one that takes away a large share steps it down.
void ClassifyWrites(int64_t l, const SpikeMeter& meter, const BlockPhenomena& block, const AnalyzeOptions& options,
                    Phenomena& phenomena) {
  std::set<int64_t> seen;
  for (const Write& write : meter.writes()) {
    const bool up = Spikes(block, write.after, options.spike_ratio) && write.written * write.after > 0 &&
                    std::abs(write.written) >= options.step_share * std::abs(write.after);
    const bool down = Spikes(block, write.before, options.spike_ratio) && write.written * write.before < 0 &&
                      std::abs(write.written) >= options.step_share * std::abs(write.before);
    if (!up && !down) continue;
    auto& steps = up ? phenomena.step_up : phenomena.step_down;
    if (steps.empty() || steps.back() != Sublayer{l, false}) steps.push_back({l, false});
    for (SpikeNeuron neuron : write.neurons) {
      if (!seen.insert(neuron.index).second) continue;
      neuron.role = up ? NeuronRole::kStepUp : NeuronRole::kStepDown;
      phenomena.neurons.push_back(neuron);
    }
  }
}

void CollectSpikeChannels(const AnalyzeOptions& options, Phenomena& phenomena) {
  std::vector<std::pair<double, int64_t>> channels;
  for (const BlockPhenomena& block : phenomena.blocks)
    for (const Peak& peak : block.ffn.residual_top)
      if (Spikes(block, peak.value, options.spike_ratio)) channels.emplace_back(-std::abs(peak.value), peak.channel);
  std::sort(channels.begin(), channels.end());  // strongest first
  for (const auto& [value, channel] : channels)
    if (std::find(phenomena.spike_channels.begin(), phenomena.spike_channels.end(), channel) ==
        phenomena.spike_channels.end())
      phenomena.spike_channels.push_back(channel);
}

// Rates over all heads, and the channels that spike anywhere.
void Summarise(const AnalyzeOptions& options, Phenomena& phenomena) {
  double rate = 0, mass = 0, heads = 0;
  for (const BlockPhenomena& block : phenomena.blocks) {
    const auto H = static_cast<double>(block.heads.size());
    rate += block.sink_share * H;
    mass += block.first_token_mass * H;
    heads += H;
  }
  phenomena.sink_rate = heads > 0 ? rate / heads : 0;
  phenomena.first_token_mass = heads > 0 ? mass / heads : 0;
  CollectSpikeChannels(options, phenomena);
}

}  // namespace

Phenomena Analyze(const Model& model, const at::Tensor& windows, const AnalyzeOptions& options,
                  const std::string& name) {
  if (windows.size(1) < options.sink_length)
    throw RecipeError(fmt::format("analyze: windows of {} tokens, expected at least sink_length = {}", windows.size(1),
                                  options.sink_length));
  Phenomena phenomena;
  phenomena.model = name;
  phenomena.family = model.config.family;
  phenomena.spike_ratio = options.spike_ratio;
  phenomena.sequences = windows.size(0);
  phenomena.sequence_length = windows.size(1);
  phenomena.sink_epsilon = options.sink_epsilon;
  phenomena.sink_length = options.sink_length;

  const int64_t last_batch = (windows.size(0) - 1) / options.batch * options.batch;
  std::optional<SpikeMeter> spikes;
  std::optional<SinkMeter> sinks;
  const auto visit = [&](int64_t l, int64_t first, const BlockTaps& taps) {
    if (first == 0) {
      spikes.emplace(model, l, options);
      sinks.emplace(options);
    }
    spikes->Add(taps, first);
    if (taps.At(Site::kAttnProbs).defined()) sinks->Add(taps.At(Site::kAttnProbs));
    if (first != last_batch) return;
    BlockPhenomena block;
    spikes->Finish(block);
    sinks->Finish(block);
    ClassifyWrites(l, *spikes, block, options, phenomena);
    phenomena.blocks.push_back(std::move(block));
  };
  StreamBlocks(
      model, windows, options.batch,
      {Site::kAttnProbs, Site::kAttnOut, Site::kAttnResidual, Site::kFfnHidden, Site::kFfnOut, Site::kBlockOutput},
      "analyze " + name, visit);
  Summarise(options, phenomena);
  phenomena.super_weights = FindSuperWeights(model, windows.narrow(0, 0, 1), options.super_weight_limit);
  return phenomena;
}

}  // namespace espalier
