#pragma once
// Measures the phenomena of one model in one pass over a few windows: spikes, who makes them, sinks, super weights.
#include <ATen/core/Tensor.h>

#include "espalier/analyze/phenomena.h"
#include "espalier/model/model.h"

namespace espalier {

class Tokenizer;

// Thresholds are named presets of the literature or ours; all are recipe keys.
struct AnalyzeOptions {
  double spike_ratio = 100;  // a channel spikes when max |h| exceeds this many medians of |h| (Sun et al. ask for 1000:
                             // fails on small models)
  double spike_absolute = 0;       // and |h| exceeds this (Sun et al., arXiv 2402.17762: 100, with a ratio of 1000)
  double step_share = 0.25;        // ours: a sublayer steps when it writes at least this share of the spike's value
  double neuron_share = 0.1;       // ours: a neuron is responsible when it writes at least this share of the step
  double sink_epsilon = 0.3;       // Gu et al., ICLR 2025
  int64_t sink_length = 64;        // Gu et al.
  double no_op_ratio = 0.2;        // arXiv 2606.08105: |v_0| over the mean |v_i| below which a sink head is a no-op
  double super_weight_limit = 50;  // Yu et al., arXiv 2411.07191: |input| and |output| of w_down
  double outlier_ratio = 64;       // PrefixQuant, arXiv 2410.05265: max |input of w_down| over its median across tokens
  int64_t regime_tokens = 256;     // ours: tokens of each kind and block whose activation regime is measured
  int64_t post_norm_tokens = 64;   // ours: spike tokens of a block whose post-norm state is measured
  bool scan = true;                // look for amplifiers in the weights (amplifiers.h)
  double scan_ratio = 3;           // ours: |U_k|_F over the median of its block from which a channel is listed
  double scan_dominance = 0.1;     // ours: and lambda*^2 over |S_k|_F^2, without which no direction is amplified
  int64_t scan_channels = 3;       // at most so many of a block, as many as the census has
  int64_t vocabulary_batch = 512;  // one-token windows at a time (vocabulary.h)
  int64_t vocabulary_sample = 1024;  // ids of the control at a later position
  uint64_t vocabulary_seed = 1;      // of that sample
  int64_t batch = 4;                 // windows at a time: [batch, H, T, T] attention weights exist at once
};

// windows [S, T] int64, T >= sink_length. `name` becomes Phenomena::model. `tokenizer` spells the outlier tokens;
// without one their texts are empty. Everything but Phenomena::vocabulary (vocabulary.h) is measured.
Phenomena Analyze(const Model& model, const at::Tensor& windows, const AnalyzeOptions& options, const std::string& name,
                  const Tokenizer* tokenizer = nullptr);

// The super weights of arXiv 2411.07191 by its iterative finder: one pass over `window` [1, T]; in each block the
// largest |input| (column) and |output| (row) of w_down, before any post norm; of the blocks where both exceed `limit`,
// the strongest is recorded and zeroed; repeat until none is left, at most 8 times.
std::vector<SuperWeight> FindSuperWeights(const Model& model, const at::Tensor& window, double limit);

}  // namespace espalier
