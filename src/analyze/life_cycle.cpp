#include "life_cycle.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>
#include <set>

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kMaxNeurons = 4;  // of one write; two make SmolLM2's spike

std::optional<NeuronRole> RoleOf(const Write& write, double median, const AnalyzeOptions& options) {
  const auto large = [&](double value) {
    return IsSpike(value, median, options) && std::abs(write.written) >= options.step_share * std::abs(value);
  };
  if (large(write.after) && write.written * write.after > 0) return NeuronRole::kStepUp;
  if (large(write.before) && write.written * write.before < 0) return NeuronRole::kStepDown;
  return std::nullopt;
}

// Row `channel` of W + scale * B A.
Tensor RowOf(const Linear& linear, int64_t channel) {
  const Tensor row = linear.weight[channel].to(at::kDouble);
  if (!linear.low_rank) return row;
  const LowRank& added = *linear.low_rank;
  return row + added.scale * added.b[channel].to(at::kDouble).matmul(added.a.to(at::kDouble));
}

// Shares are taken of what w_down gives, because a post norm may rescale it before the addition.
std::vector<SpikeNeuron> Responsible(const Linear& w_down, int64_t block, const Write& write, NeuronRole role,
                                     double least_share) {
  if (!write.hidden.defined() || write.hidden.size(0) == 0) return {};
  const Tensor products = RowOf(w_down, write.channel) * write.hidden.to(at::kDouble);  // [F]
  double total = products.sum().item<double>();
  if (w_down.bias.defined()) total += w_down.bias[write.channel].item<double>();
  if (total == 0) return {};
  const auto [share, neuron] = (products / total).topk(std::min(kMaxNeurons, products.size(0)));
  std::vector<SpikeNeuron> responsible;
  for (int64_t i = 0; i < share.size(0) && share[i].item<double>() >= least_share; ++i) {
    SpikeNeuron found;
    found.block = block;
    found.index = neuron[i].item<int64_t>();
    found.role = role;
    found.activation = std::abs(write.hidden[found.index].item<double>());
    found.channel = write.channel;
    found.contribution = share[i].item<double>() * write.written;
    found.sequence = write.sequence;
    found.position = write.position;
    responsible.push_back(found);
  }
  return responsible;
}

void AddStep(const Sublayer& sublayer, NeuronRole role, Phenomena& phenomena) {
  auto& steps = role == NeuronRole::kStepUp ? phenomena.step_up : phenomena.step_down;
  if (steps.empty() || steps.back() != sublayer) steps.push_back(sublayer);
}

// Rise, plateau, fall (section 3.1): a value that the next block no longer carries rose for nothing that reads it.
bool IsCarried(const SpikeNeuron& neuron, const std::vector<BlockPhenomena>& blocks) {
  constexpr double kHalf = 0.5;
  const auto next = static_cast<size_t>(neuron.block) + 1;
  if (next >= blocks.size()) return false;
  const auto height = [&](const Census& census) {
    double value = 0;
    for (const Peak& peak : census.residual_top)
      if (peak.channel == neuron.channel) value = std::abs(peak.value);
    return value;
  };
  const double risen = height(blocks[next - 1].ffn), carried = height(blocks[next].ffn);
  return carried > 0 && carried >= kHalf * risen;
}

// Takes step-ups of FFNs without a plateau out again, and their neurons.
void KeepCarried(Phenomena& phenomena) {
  std::set<int64_t> carried, all;
  for (const SpikeNeuron& neuron : phenomena.neurons)
    if (neuron.role == NeuronRole::kStepUp) {
      all.insert(neuron.block);
      if (IsCarried(neuron, phenomena.blocks)) carried.insert(neuron.block);
    }
  const auto lost = [&](int64_t block) { return all.contains(block) && !carried.contains(block); };
  std::erase_if(phenomena.step_up, [&](const Sublayer& step) { return !step.attention && lost(step.block); });
  std::erase_if(phenomena.neurons,
                [&](const SpikeNeuron& neuron) { return neuron.role == NeuronRole::kStepUp && lost(neuron.block); });
}

}  // namespace

void AddSteps(const Model& model, int64_t l, const SpikeMeter& meter, const BlockPhenomena& block,
              const AnalyzeOptions& options, Phenomena& phenomena) {
  for (const Write& write : meter.attention().writes())
    if (const auto role = RoleOf(write, block.attention.residual_median, options)) AddStep({l, true}, *role, phenomena);
  std::set<int64_t> seen;
  const Linear& w_down = model.blocks[static_cast<size_t>(l)].ffn.w_down;
  for (const Write& write : meter.ffn().writes()) {
    const auto role = RoleOf(write, block.ffn.residual_median, options);
    if (!role) continue;
    AddStep({l, false}, *role, phenomena);
    for (const SpikeNeuron& neuron : Responsible(w_down, l, write, *role, options.neuron_share))
      if (seen.insert(neuron.index).second) phenomena.neurons.push_back(neuron);
  }
}

void SummariseSpikes(const AnalyzeOptions& options, Phenomena& phenomena) {
  KeepCarried(phenomena);
  std::vector<std::pair<double, int64_t>> channels;
  double sum = 0;
  for (const BlockPhenomena& block : phenomena.blocks) {
    sum += block.ffn.residual_max;
    for (const Census* census : {&block.attention, &block.ffn})
      for (const Peak& peak : census->residual_top)
        if (IsSpike(peak.value, census->residual_median, options))
          channels.emplace_back(-std::abs(peak.value), peak.channel);
  }
  if (!phenomena.blocks.empty()) phenomena.massive_mean = sum / static_cast<double>(phenomena.blocks.size());
  std::sort(channels.begin(), channels.end());  // strongest first
  std::set<int64_t> seen;
  for (const auto& [value, channel] : channels)
    if (seen.insert(channel).second) phenomena.spike_channels.push_back(channel);
}

}  // namespace espalier
