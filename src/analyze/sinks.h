#pragma once
// What the heads of one block do with the first token, accumulated over batches.
// Positions count from 0 here and from 1 in the papers: alpha_1 is the attention on position 0.
#include <ATen/core/Tensor.h>

#include <vector>

#include "espalier/analyze/analyze.h"
#include "espalier/calibrate/calibrate.h"

namespace espalier {

// With a window w, position k is seen by queries k .. k + w - 1 only: every mean counts the queries that see the token,
// never the blind ones. With sink logits rows of the attention weights sum to less than 1, and that is what is
// measured.
class SinkMeter {
 public:
  SinkMeter(const Model& model, int64_t block, const AnalyzeOptions& options);
  // Taps: q, k, v, attn_probs, head_out; nothing when the block has no attention. Of maps it holds none beyond the
  // tap's. Throws NumericError when an output is not finite.
  void Add(const BlockTaps& taps);
  // Fills window, first_token_mass, sink_share and heads of `block`, and adds the sinks of its heads to
  // phenomena.sink_rate_by_position: the sum over heads of the share of sequences.
  void Finish(BlockPhenomena& block, Phenomena& phenomena) const;

 private:
  void AddAttention(const at::Tensor& probs);                // [B, H, T, T]
  void AddLogits(const at::Tensor& q, const at::Tensor& k);  // [B, H, T, D], [B, G, T, D]
  void AddValues(const at::Tensor& v);                       // [B, G, T, D]
  void AddOutput(const at::Tensor& head_out);                // [B, T, H*D]
  int64_t Seeing(int64_t position, int64_t T) const;         // queries of T that see a position
  std::vector<HeadPhenomena> Heads() const;

  const Model& model_;
  int64_t block_;
  AnalyzeOptions options_;
  const BlockConfig& sizes_;
  at::Tensor gram_;  // [H, D, D] float64, W^T W of each head's slice W of w_o
  // Sums in float64 on the CPU; undefined until something is added.
  at::Tensor mass_;                       // [H], over sequences, of the mean over queries of A[t, 0]
  at::Tensor alpha_, sinks_;              // [H, sink_length], over sequences, of alpha_k and of alpha_k > epsilon
  at::Tensor gap_, gap_square_;           // [H], over queries
  at::Tensor first_value_, other_value_;  // [G], over tokens, of |v|
  at::Tensor output_, written_;           // [H], over tokens but the first
  int64_t sequences_ = 0, gaps_ = 0, others_ = 0;  // what the sums run over; others: tokens but the first
};

}  // namespace espalier
