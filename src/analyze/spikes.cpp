// Massive activations: Sun et al. 2024, arXiv 2402.17762; the two taps: arXiv 2603.05498, Figures 1 and 7; kurtosis of
// the channels' RMS: He et al. 2024, arXiv 2405.19279.
#include "spikes.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace espalier {
namespace {

using at::Tensor;

constexpr size_t kTop = 3;  // the papers plot the three largest channels

// Of the channels of [B, T, C] with the largest |value|, the channel and the row of B*T where it is.
std::vector<std::pair<int64_t, int64_t>> LargestChannels(const Tensor& value) {
  const Tensor magnitude = value.flatten(0, 1).abs();
  const Tensor channel = std::get<1>(magnitude.amax(0).topk(std::min<int64_t>(kTop, magnitude.size(1))));
  std::vector<std::pair<int64_t, int64_t>> largest;
  for (int64_t i = 0; i < channel.size(0); ++i) {
    const int64_t c = channel[i].item<int64_t>();
    largest.emplace_back(c, magnitude.select(1, c).argmax().item<int64_t>());
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

double At(const Tensor& rows, int64_t row, int64_t channel) {
  return rows[row][channel].item<double>();
}

}  // namespace

bool IsSpike(double value, double median, const AnalyzeOptions& options) {
  return std::abs(value) > options.spike_ratio * median && std::abs(value) > options.spike_absolute;
}

Tensor SpikeTokens(const Tensor& h, double median, const AnalyzeOptions& options) {
  return h.abs().amax(-1) > std::max(options.spike_ratio * median, options.spike_absolute);
}

double MedianMagnitude(const Tensor& h) {
  return h.abs().median().item<double>();
}

Tensor SpreadRows(const Tensor& mask, int64_t count) {
  const Tensor rows = mask.flatten().nonzero().squeeze(1);
  const int64_t n = rows.size(0);
  if (n <= count) return rows;
  return rows.index_select(0, (at::arange(count, rows.options()) * n).floor_divide(count));
}

void SublayerMeter::Add(const Tensor& before, const Tensor& written, const Tensor& after, const Tensor& hidden,
                        int64_t first_window) {
  AddPeaks(after, first_window);
  AddWrites(before, written, after, hidden, first_window);
  last_median_ = MedianMagnitude(after);
  median_sum_ += last_median_;
  ++batches_;
  const Tensor squares = after.flatten(0, 1).to(at::kFloat).square().sum(0, /*keepdim=*/false, at::kDouble);  // [C]
  squares_ = squares_.defined() ? squares_ + squares : squares;
}

void SublayerMeter::AddPeaks(const Tensor& after, int64_t first_window) {
  const int64_t T = after.size(1);
  const Tensor rows = after.flatten(0, 1);
  for (const auto& [channel, row] : LargestChannels(after))
    KeepLargest(peaks_, Peak{channel, first_window + row / T, row % T, At(rows, row, channel)},
                [](const Peak& peak) { return std::abs(peak.value); });
}

void SublayerMeter::AddWrites(const Tensor& before, const Tensor& written, const Tensor& after, const Tensor& hidden,
                              int64_t first_window) {
  const int64_t T = written.size(1);
  const Tensor from = before.flatten(0, 1), added = written.flatten(0, 1), to = after.flatten(0, 1);
  for (const auto& [channel, row] : LargestChannels(written)) {
    Write write{
        channel, first_window + row / T, row % T, At(from, row, channel), At(added, row, channel), At(to, row, channel),
        {}};
    if (hidden.defined()) write.hidden = hidden.flatten(0, 1)[row].clone();  // a view would keep the whole batch
    KeepLargest(writes_, std::move(write), [](const Write& held) { return std::abs(held.written); });
  }
}

Census SublayerMeter::Finish() const {
  Census census;
  if (batches_ == 0) return census;
  census.residual_top = peaks_;
  census.residual_max = std::abs(peaks_.front().value);
  census.residual_median = median_sum_ / static_cast<double>(batches_);
  // With s_c the RMS of channel c: mean s^4 / (mean s^2)^2. The number of tokens cancels.
  const double mean = squares_.mean().item<double>();
  census.residual_kurtosis = mean > 0 ? squares_.square().mean().item<double>() / (mean * mean) : 0;
  census.output_max = std::abs(writes_.front().written);
  for (const Write& write : writes_)
    census.output_top.push_back({write.channel, write.sequence, write.position, write.written});
  return census;
}

void SpikeMeter::Add(const BlockTaps& taps, int64_t first_window) {
  const Tensor& residual = taps.At(Site::kAttnResidual);
  const Tensor& output = taps.At(Site::kBlockOutput);
  attention_.Add(taps.At(Site::kBlockInput), taps.At(Site::kAttnOut), residual, {}, first_window);
  ffn_.Add(residual, taps.At(Site::kFfnOut), output, taps.At(Site::kFfnHidden), first_window);
  spike_tokens_ = SpikeTokens(residual, attention_.last_median(), options_)
                      .logical_or(SpikeTokens(output, ffn_.last_median(), options_));
}

void SpikeMeter::Finish(BlockPhenomena& block) const {
  block.attention = attention_.Finish();
  block.ffn = ffn_.Finish();
}

}  // namespace espalier
