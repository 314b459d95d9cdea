#include "espalier/analyze/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr double kCollapse = 0.5;    // of the sink rate, and of a neuron's write
constexpr double kAppearance = 0.1;  // of all heads: a rate near zero may double by chance

void CheckComparable(const Phenomena& before, const Phenomena& after) {
  const auto measured = [](const Phenomena& p) {
    return fmt::format("{} sequences of {} tokens, sink epsilon {} at T {}, spike ratio {}", p.sequences,
                       p.sequence_length, p.sink_epsilon, p.sink_length, p.spike_ratio);
  };
  if (measured(before) != measured(after))
    throw RecipeError(fmt::format("{} was measured on {}, {} on {}; analyse both alike", before.model, measured(before),
                                  after.model, measured(after)));
  if (before.blocks.size() != after.blocks.size())
    throw RecipeError(fmt::format("{} has {} blocks, {} has {}; only checkpoints of one model can be compared",
                                  before.model, before.blocks.size(), after.model, after.blocks.size()));
}

bool Contains(const std::vector<Sublayer>& list, const Sublayer& sublayer) {
  return std::find(list.begin(), list.end(), sublayer) != list.end();
}

// The largest write to `channel` that a step-up neuron of `block` makes.
double StrongestWrite(const Phenomena& phenomena, int64_t block, int64_t channel) {
  double strongest = 0;
  for (const SpikeNeuron& neuron : phenomena.neurons)
    if (neuron.block == block && neuron.channel == channel && neuron.role == NeuronRole::kStepUp)
      strongest = std::max(strongest, std::abs(neuron.contribution));
  return strongest;
}

void CompareNeurons(const Phenomena& before, const Phenomena& after, const NeuronStays& stays,
                    std::vector<PhenomenonFlag>& flags) {
  for (const SpikeNeuron& neuron : before.neurons) {
    if (neuron.role != NeuronRole::kStepUp) continue;
    if (stays) {
      if (!stays(neuron.block, neuron.index))
        flags.push_back({FlagKind::kProtectedUnitTouched,
                         fmt::format("Step-up neuron {} of block {} was removed; it wrote {:.0f} to channel {}.",
                                     neuron.index, neuron.block, neuron.contribution, neuron.channel)});
      continue;
    }
    const double now = StrongestWrite(after, neuron.block, neuron.channel);
    const double then = StrongestWrite(before, neuron.block, neuron.channel);
    if (std::abs(neuron.contribution) < then || now >= kCollapse * then)
      continue;  // one flag for each block and channel
    flags.push_back({FlagKind::kProtectedUnitTouched,
                     fmt::format("No neuron of block {} writes what {} wrote to channel {}: {:.0f} before, {:.0f} now.",
                                 neuron.block, neuron.index, neuron.channel, then, now)});
  }
}

void CompareSinks(const Phenomena& before, const Phenomena& after, std::vector<PhenomenonFlag>& flags) {
  const auto change =
      fmt::format("from {:.1f} % to {:.1f} % of the heads", 100 * before.sink_rate, 100 * after.sink_rate);
  if (after.sink_rate < kCollapse * before.sink_rate)
    flags.push_back({FlagKind::kSinksCollapsed, fmt::format("The sink rate fell {}.", change)});
  if (after.sink_rate > before.sink_rate / kCollapse && after.sink_rate > before.sink_rate + kAppearance)
    flags.push_back({FlagKind::kSinksAppeared, fmt::format("The sink rate rose {}.", change)});
}

}  // namespace

std::string FlagKindName(FlagKind kind) {
  static constexpr std::array kNames = {"step_up_lost",    "protected_unit_touched", "spikes_lost",
                                        "spikes_appeared", "sinks_collapsed",        "sinks_appeared"};
  return kNames[static_cast<size_t>(kind)];
}

std::vector<PhenomenonFlag> ComparePhenomena(const Phenomena& before, const Phenomena& after,
                                             const NeuronStays& stays) {
  CheckComparable(before, after);
  std::vector<PhenomenonFlag> flags;
  for (const Sublayer& step : before.step_up)
    if (!Contains(after.step_up, step))
      flags.push_back(
          {FlagKind::kStepUpLost, fmt::format("The step-up in block {} ({} of the paper's numbering) is gone.",
                                              SublayerText(step), step.PaperNumber())});
  CompareNeurons(before, after, stays, flags);
  if (!before.spike_channels.empty() && after.spike_channels.empty())
    flags.push_back(
        {FlagKind::kSpikesLost, fmt::format("Nothing spikes any more; the largest |h| fell from {:.0f} to {:.0f}.",
                                            before.LargestResidual(), after.LargestResidual())});
  if (before.spike_channels.empty() && !after.spike_channels.empty())
    flags.push_back(
        {FlagKind::kSpikesAppeared, fmt::format("Spikes appeared: the largest |h| rose from {:.0f} to {:.0f}.",
                                                before.LargestResidual(), after.LargestResidual())});
  CompareSinks(before, after, flags);
  return flags;
}

}  // namespace espalier
