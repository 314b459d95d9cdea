#include "gates.h"

#include <ATen/ATen.h>

#include <array>
#include <bit>
#include <limits>
#include <vector>

#include "accumulate.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kBins = 20;                // of [0, 1]; phenomena.h
constexpr std::array kSmall = {1e-2, 1e-3};  // arXiv 2505.06708, Figure 5
constexpr double kClosed = 0.1;              // a score below it all but closes the gate; phenomena.h

// Float32 magnitudes sort as their bits do. Sign 0, 8 bits of exponent and the leading 12 of the fraction: 2^20 bins.
constexpr int kDroppedBits = 11;
constexpr int64_t kMagnitudeBins = int64_t{1} << (31 - kDroppedBits);

Tensor CountMagnitudes(const Tensor& magnitude) {  // float32 of any shape -> [kMagnitudeBins] int64
  return magnitude.contiguous().view(at::kInt).flatten().bitwise_right_shift(kDroppedBits).bincount({}, kMagnitudeBins);
}

Tensor CountSmall(const Tensor& magnitude) {  // [2] float64
  std::vector<double> counts;
  for (const double limit : kSmall) counts.push_back(static_cast<double>((magnitude < limit).sum().item<int64_t>()));
  return at::tensor(counts, at::kDouble);
}

std::vector<double> Shares(const Tensor& sums, int64_t n) {  // [m] float64
  std::vector<double> shares;
  for (int64_t i = 0; i < sums.size(0); ++i) shares.push_back(sums[i].item<double>() / static_cast<double>(n));
  return shares;
}

// How many magnitudes, times `factor`, lie below `limit`; gates.h says how exactly.
int64_t CountBelow(const Tensor& binned, double limit, double factor) {
  const double threshold = limit / factor;
  if (!(threshold < std::numeric_limits<float>::max())) return binned.sum().item<int64_t>();
  const int64_t bin = std::bit_cast<uint32_t>(static_cast<float>(threshold)) >> kDroppedBits;
  return binned.narrow(0, 0, bin).sum().item<int64_t>();
}

}  // namespace

GateMeter::GateMeter(const Model& model, int64_t block) : block_(block) {
  switch (model.config.blocks[static_cast<size_t>(block)].gate) {
    case GateKind::kNone:
      form_ = GateForm::kSinkLogit;  // what else would give a score
      break;
    case GateKind::kElementwise:
      form_ = GateForm::kElementwise;
      break;
    case GateKind::kHeadwise:
    case GateKind::kSingle:
      form_ = GateForm::kHeadwise;
      break;
  }
}

void GateMeter::Add(const BlockTaps& taps) {
  const Tensor& score = taps.At(Site::kGateScore);
  if (!score.defined()) return;
  CheckFinite(score, block_, Site::kGateScore);
  AddScores(score.to(at::kFloat));
  AddValues(taps.At(Site::kSdpaOut).to(at::kFloat).abs(), taps.At(Site::kHeadOut).to(at::kFloat).abs());
}

void GateMeter::AddScores(const Tensor& score) {
  Accumulate(score_, score.sum({0, 1, 3}, /*keepdim=*/false, at::kDouble));
  Accumulate(below_tenth_, (score < kClosed).sum({0, 1, 3}).to(at::kDouble));
  const Tensor bin = (score * kBins).floor().clamp(0, kBins - 1).to(at::kLong);  // 1 itself belongs to the last
  Accumulate(histogram_, bin.flatten().bincount({}, kBins));
  scores_ += score.size(0) * score.size(1) * score.size(3);
}

void GateMeter::AddValues(const Tensor& before, const Tensor& after) {
  Accumulate(small_before_, CountSmall(before));
  Accumulate(small_after_, CountSmall(after));
  Accumulate(binned_, CountMagnitudes(before));
  magnitude_before_ += before.sum(at::kDouble).item<double>();
  magnitude_after_ += after.sum(at::kDouble).item<double>();
  values_ += before.numel();
}

void GateMeter::Finish(BlockPhenomena& block) const {
  if (scores_ == 0) return;
  GatePhenomena gate;
  gate.form = form_;
  gate.head_mean = Shares(score_, scores_);
  gate.head_below_tenth = Shares(below_tenth_, scores_);
  const double H = static_cast<double>(score_.size(0));
  gate.mean = score_.sum().item<double>() / (H * static_cast<double>(scores_));
  gate.below_tenth = below_tenth_.sum().item<double>() / (H * static_cast<double>(scores_));
  for (int64_t bin = 0; bin < kBins; ++bin) gate.histogram.push_back(histogram_[bin].item<int64_t>());
  const double values = static_cast<double>(values_);
  gate.magnitude_before = magnitude_before_ / values;
  gate.magnitude_after = magnitude_after_ / values;
  gate.small_before = Shares(small_before_, values_);
  gate.small_after = Shares(small_after_, values_);
  for (const double limit : kSmall)
    gate.small_control.push_back(static_cast<double>(CountBelow(binned_, limit, gate.mean)) / values);
  block.gate = std::move(gate);
}

}  // namespace espalier
