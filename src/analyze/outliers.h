#pragma once
// Outlier tokens and how many a prefix would have to take: PrefixQuant, arXiv 2410.05265, section 4.
#include <ATen/core/Tensor.h>

#include <vector>

#include "espalier/analyze/analyze.h"
#include "espalier/calibrate/calibrate.h"

namespace espalier {

// hidden [B, T, F], the input of w_down -> [B, T] bool: the tokens whose max |hidden| exceeds `ratio` times its median
// over the window's tokens (the lower one of two).
at::Tensor HiddenOutliers(const at::Tensor& hidden, double ratio);

class OutlierMeter {
 public:
  // windows [S, T] int64.
  OutlierMeter(const at::Tensor& windows, int64_t blocks, const AnalyzeOptions& options);
  // Tap: ffn_hidden.
  void Add(int64_t block, const BlockTaps& taps, int64_t first_window);
  // A token of the text counts once, however many blocks find it (PrefixQuant's code counts it in each).
  void Finish(Phenomena& phenomena, const Tokenizer* tokenizer) const;

 private:
  at::Tensor windows_;         // [S, T] CPU
  at::Tensor outlier_;         // [S, T] bool, in some block
  std::vector<double> found_;  // [L] outliers of each block
  double ratio_;
};

}  // namespace espalier
