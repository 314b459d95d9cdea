// Sink metrics. Gu et al., ICLR 2025 (arXiv 2410.10781): alpha_1 = mean over queries t of A[t, 1];
// Sink_1^eps = share of (sequence, block, head) with alpha_1 > eps, at T = 64. F-Attn: mean of A[t, 1] (arXiv
// 2505.06708).
#include "sinks.h"

#include <ATen/ATen.h>

namespace espalier {

void SinkMeter::Add(const at::Tensor& probs) {
  const at::Tensor first =
      probs.select(3, 0).to(at::kDouble).cpu();  // [B, H, T], attention of each query to position 0
  const at::Tensor mass = first.mean(2).sum(0);  // [H]
  // Causal attention: the first rows are what a text of that length alone would give.
  const at::Tensor alpha = first.narrow(2, 0, options_.sink_length).mean(2);        // [B, H]
  const at::Tensor sinks = (alpha > options_.sink_epsilon).to(at::kDouble).sum(0);  // [H]
  mass_ = mass_.defined() ? mass_ + mass : mass;
  sinks_ = sinks_.defined() ? sinks_ + sinks : sinks;
  sequences_ += probs.size(0);
}

void SinkMeter::Finish(BlockPhenomena& block) const {
  if (sequences_ == 0) return;
  const double n = static_cast<double>(sequences_);
  for (int64_t head = 0; head < mass_.size(0); ++head) {
    HeadPhenomena measured;
    measured.first_token_mass = mass_[head].item<double>() / n;
    measured.head_class = sinks_[head].item<double>() > n / 2 ? HeadClass::kBroadcast : HeadClass::kNonSink;
    block.heads.push_back(measured);
  }
  block.first_token_mass = mass_.mean().item<double>() / n;
  block.sink_share = sinks_.mean().item<double>() / n;
}

}  // namespace espalier
