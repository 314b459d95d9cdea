#pragma once
// What RMSNorm makes of spike tokens before attention reads them: arXiv 2603.05498, section 3.2 and Figure 5. The norm
// bounds them, keeps only their spike channels, and makes them all alike, so that their keys span few dimensions.
#include <ATen/core/Tensor.h>

#include <vector>

#include "espalier/analyze/analyze.h"
#include "espalier/calibrate/calibrate.h"

namespace espalier {

// Effective rank of a matrix, exp of the entropy of its singular values over their sum (Roy and Vetterli 2007); 0 for
// the zero matrix.
double EffectiveRank(const at::Tensor& matrix);

// Keeps at most post_norm_tokens rows of each block during the pass, because which channels spike is known only after
// it.
class PostNormMeter {
 public:
  PostNormMeter(const Model& model, const AnalyzeOptions& options)
      : model_(model), options_(options), rows_(static_cast<size_t>(model.config.L())) {}
  // Tap: block_input.
  void Add(int64_t block, const BlockTaps& taps);
  // Needs spike_channels. Blocks without attention or without a norm before it keep zeros; with one token only its
  // cosine is 1, with itself.
  void Finish(Phenomena& phenomena) const;

 private:
  PostNorm Measure(int64_t block, const std::vector<int64_t>& channels) const;

  const Model& model_;
  AnalyzeOptions options_;
  std::vector<at::Tensor> rows_;  // of each block: [n, C] or undefined
};

}  // namespace espalier
