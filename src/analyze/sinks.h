#pragma once
// Attention on the first token, accumulated over batches of one block.
#include <ATen/core/Tensor.h>

#include "espalier/analyze/analyze.h"

namespace espalier {

class SinkMeter {
 public:
  explicit SinkMeter(const AnalyzeOptions& options) : options_(options) {}
  // probs [B, H, T, T]: attention weights, rows are queries.
  void Add(const at::Tensor& probs);
  // Fills the sink fields of `block`; leaves them at zero when nothing was added.
  void Finish(BlockPhenomena& block) const;

 private:
  AnalyzeOptions options_;
  at::Tensor mass_;   // [H] float64, sum over sequences of the mean over queries of A[t, 0]
  at::Tensor sinks_;  // [H] float64, number of sequences with alpha_1 > epsilon
  int64_t sequences_ = 0;
};

}  // namespace espalier
