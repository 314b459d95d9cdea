// Massive activations (Sun et al. 2024, arXiv 2402.17762) and their life cycle (arXiv 2603.05498, section 3.1).
#include "spikes.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace espalier {
namespace {

using at::Tensor;

constexpr size_t kTop = 3;         // the papers plot the three largest channels
constexpr size_t kMaxNeurons = 4;  // of one write; two make SmolLM2's spike

// The largest |value| of each channel of [B, T, C], as (channel, row of B*T) for the `count` largest channels.
std::vector<std::pair<int64_t, int64_t>> LargestChannels(const Tensor& value, size_t count) {
  const auto [max, row] = value.flatten(0, 1).abs().max(0);  // [C]
  const auto [top, channel] = max.topk(std::min<int64_t>(static_cast<int64_t>(count), max.size(0)));
  std::vector<std::pair<int64_t, int64_t>> largest;
  for (int64_t i = 0; i < channel.size(0); ++i) {
    const int64_t c = channel[i].item<int64_t>();
    largest.emplace_back(c, row[c].item<int64_t>());
  }
  return largest;
}

// Adds `entry` to the list that keeps, per channel, the largest by `size`, and of those the kTop largest.
template <class T, class Size>
void KeepLargest(std::vector<T>& list, T entry, Size size) {
  const auto same =
      std::find_if(list.begin(), list.end(), [&](const T& held) { return held.channel == entry.channel; });
  if (same == list.end())
    list.push_back(std::move(entry));
  else if (size(entry) > size(*same))
    *same = std::move(entry);
  std::stable_sort(list.begin(), list.end(), [&](const T& a, const T& b) { return size(a) > size(b); });
  if (list.size() > kTop) list.resize(kTop);
}

}  // namespace

void SpikeMeter::Add(const BlockTaps& taps, int64_t first_window) {
  const Tensor& output = taps.At(Site::kBlockOutput);
  AddPeaks(output, first_window);
  median_sum_ += output.abs().median().item<double>();
  ++batches_;
  for (const Site site : {Site::kAttnOut, Site::kFfnOut})
    output_max_ = std::max(output_max_, taps.At(site).abs().max().item<double>());
  if (taps.At(Site::kFfnHidden).defined()) AddWrites(taps, first_window);
}

void SpikeMeter::AddPeaks(const Tensor& output, int64_t first_window) {
  const int64_t T = output.size(1);
  const Tensor rows = output.flatten(0, 1);
  for (const auto& [channel, row] : LargestChannels(output, kTop))
    KeepLargest(peaks_, Peak{channel, first_window + row / T, row % T, rows[row][channel].item<double>()},
                [](const Peak& peak) { return std::abs(peak.value); });
}

void SpikeMeter::AddWrites(const BlockTaps& taps, int64_t first_window) {
  const Tensor& written = taps.At(Site::kFfnOut);
  const int64_t T = written.size(1);
  const Tensor before = taps.At(Site::kAttnResidual).flatten(0, 1), after = taps.At(Site::kBlockOutput).flatten(0, 1);
  const Tensor rows = written.flatten(0, 1), hidden = taps.At(Site::kFfnHidden).flatten(0, 1);
  for (const auto& [channel, row] : LargestChannels(written, kTop)) {
    Write write{channel,
                first_window + row / T,
                row % T,
                before[row][channel].item<double>(),
                rows[row][channel].item<double>(),
                after[row][channel].item<double>(),
                {}};
    write.neurons = Responsible(hidden[row], write);
    KeepLargest(writes_, std::move(write), [](const Write& held) { return std::abs(held.written); });
  }
}

std::vector<SpikeNeuron> SpikeMeter::Responsible(const Tensor& hidden, const Write& write) const {
  const Tensor& w_down = model_.blocks[static_cast<size_t>(block_)].ffn.w_down.weight;  // [C, F]
  const Tensor contribution =
      (w_down[write.channel] * hidden).to(at::kDouble) / write.written;  // [F], shares of the write
  const auto [share, neuron] = contribution.topk(std::min<int64_t>(kMaxNeurons, contribution.size(0)));
  std::vector<SpikeNeuron> responsible;
  for (int64_t i = 0; i < share.size(0) && share[i].item<double>() >= options_.neuron_share; ++i) {
    SpikeNeuron found;
    found.block = block_;
    found.index = neuron[i].item<int64_t>();
    found.activation = std::abs(hidden[found.index].item<double>());
    found.channel = write.channel;
    found.contribution = share[i].item<double>() * write.written;
    found.sequence = write.sequence;
    found.position = write.position;
    responsible.push_back(found);
  }
  return responsible;
}

double SpikeMeter::median() const {
  return batches_ == 0 ? 0 : median_sum_ / static_cast<double>(batches_);
}

void SpikeMeter::Finish(BlockPhenomena& block) const {
  block.ffn.residual_top = peaks_;
  block.ffn.residual_max = peaks_.empty() ? 0 : std::abs(peaks_.front().value);
  block.ffn.residual_median = median();
  block.ffn.output_max = output_max_;
}

}  // namespace espalier
