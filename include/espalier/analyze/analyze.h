#pragma once
// Measures the phenomena of one model in one pass over a few windows: spikes, who makes them, sinks, super weights.
#include <ATen/core/Tensor.h>

#include "espalier/analyze/phenomena.h"
#include "espalier/model/model.h"

namespace espalier {

// Thresholds are named presets of the literature or ours; all are recipe keys.
struct AnalyzeOptions {
  double spike_ratio = 100;  // a channel spikes when max |h| exceeds this many medians of |h| (Sun et al. ask for 1000:
                             // fails on small models)
  double step_share = 0.25;  // ours: a block steps when its FFN writes at least this share of the spike's value
  double neuron_share = 0.1;       // ours: a neuron is responsible when it writes at least this share of the step
  double sink_epsilon = 0.3;       // Gu et al., ICLR 2025
  int64_t sink_length = 64;        // Gu et al.
  double super_weight_limit = 50;  // Yu et al., arXiv 2411.07191: |input| and |output| of w_down
  int64_t batch = 4;               // windows at a time: [batch, H, T, T] attention weights exist at once
};

// windows [S, T] int64, T >= sink_length. `name` becomes Phenomena::model.
Phenomena Analyze(const Model& model, const at::Tensor& windows, const AnalyzeOptions& options,
                  const std::string& name);

// The super weights of arXiv 2411.07191 by its iterative finder: one pass over `window` [1, T]; in each block the
// largest |input| (column) and |output| (row) of w_down; of the blocks where both exceed `limit`, the strongest is
// recorded and zeroed; repeat until none is left, at most 8 times.
std::vector<SuperWeight> FindSuperWeights(const Model& model, const at::Tensor& window, double limit);

}  // namespace espalier
