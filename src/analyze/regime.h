#pragma once
// How near the FFN's activation is to the identity, on spike tokens and on the others: arXiv 2603.05498, Figure 2.
#include <ATen/core/Tensor.h>

#include "espalier/analyze/analyze.h"
#include "espalier/calibrate/calibrate.h"

namespace espalier {

class RegimeMeter {
 public:
  RegimeMeter(const Model& model, int64_t block, const AnalyzeOptions& options)
      : config_(model.config), w_gate_(model.blocks[static_cast<size_t>(block)].ffn.w_gate), options_(options) {}
  // Taps: ffn_norm, ffn_hidden (absent where there is no FFN). spike_tokens [B, T] bool.
  void Add(const BlockTaps& taps, const at::Tensor& spike_tokens);
  void Finish(BlockPhenomena& block) const;

 private:
  struct Kind {
    int64_t tokens = 0;
    double cosine = 0, ratio = 0;  // sums over tokens
  };
  void AddKind(const at::Tensor& normed, const at::Tensor& mask, Kind& kind) const;

  const ModelConfig& config_;
  const Linear& w_gate_;
  AnalyzeOptions options_;
  Kind spike_, other_;
};

}  // namespace espalier
