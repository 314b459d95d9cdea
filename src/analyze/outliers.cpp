#include "outliers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "token_text.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr size_t kMaxTokens = 20;  // listed

}  // namespace

Tensor HiddenOutliers(const Tensor& hidden, double ratio) {
  const Tensor largest = hidden.abs().amax(-1).to(at::kFloat);  // [B, T]
  return largest > std::get<0>(largest.median(1, /*keepdim=*/true)) * ratio;
}

OutlierMeter::OutlierMeter(const Tensor& windows, int64_t blocks, const AnalyzeOptions& options)
    : windows_(windows.cpu()),
      outlier_(at::zeros(windows.sizes(), at::kBool)),
      found_(static_cast<size_t>(blocks), 0),
      ratio_(options.outlier_ratio) {}

void OutlierMeter::Add(int64_t block, const BlockTaps& taps, int64_t first_window) {
  const Tensor& hidden = taps.At(Site::kFfnHidden);
  if (!hidden.defined() || hidden.size(2) == 0) return;
  const Tensor found = HiddenOutliers(hidden, ratio_).cpu();
  outlier_.narrow(0, first_window, found.size(0)).logical_or_(found);
  found_[static_cast<size_t>(block)] += found.sum().item<double>();
}

void OutlierMeter::Finish(Phenomena& phenomena, const Tokenizer* tokenizer) const {
  Outliers& outliers = phenomena.outliers;
  outliers.ratio = ratio_;
  const double most = found_.empty() ? 0 : *std::max_element(found_.begin(), found_.end());
  outliers.mean_per_sequence = most / static_cast<double>(windows_.size(0));
  outliers.prefix_length = static_cast<int64_t>(std::ceil(outliers.mean_per_sequence));
  const auto [ids, inverse, count] = at::_unique2(windows_.masked_select(outlier_), true, false, true);
  const Tensor first = windows_.select(1, 0).masked_select(outlier_.select(1, 0));
  for (int64_t i = 0; i < ids.size(0); ++i) {
    OutlierToken token;
    token.id = ids[i].item<int64_t>();
    token.count = count[i].item<int64_t>();
    token.first = (first == token.id).sum().item<int64_t>();
    outliers.tokens.push_back(token);
  }
  std::stable_sort(outliers.tokens.begin(), outliers.tokens.end(),
                   [](const OutlierToken& a, const OutlierToken& b) { return a.count > b.count; });
  if (outliers.tokens.size() > kMaxTokens) outliers.tokens.resize(kMaxTokens);
  for (OutlierToken& token : outliers.tokens) token.text = TokenText(tokenizer, token.id);
}

}  // namespace espalier
