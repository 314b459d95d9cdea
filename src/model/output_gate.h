#pragma once
// The gates of attention, at any of the five places of arXiv 2505.06708, Figure 1.
#include <ATen/core/Tensor.h>

#include "espalier/model/forward.h"
#include "espalier/model/model.h"
#include "tap.h"

namespace espalier {

struct Gate {
  const ModelConfig& config;
  const BlockConfig& block;
  const Attention& attention;
  at::Tensor state;   // [B, T, C], what the queries read
  at::Tensor signal;  // what a gate reads that does not look at the state (Rope::gate_signal)

  bool StandsAt(GatePlace place) const;
  // One score for each of `n` heads: [B, n, T, D] or [B, n, T, 1], or with n = 1 and no heads [B, 1, T, C].
  at::Tensor Scores(int64_t n) const;
  // y [B, T, n * width], gated here: the same shape. The scores of sigmoid gates that multiply go to the tap.
  at::Tensor Apply(const at::Tensor& y, int64_t n, const Tap& tap) const;
};

// A function without parameters of each head of y [B, T, n * D].
at::Tensor TransformHeads(const ModelConfig& config, const at::Tensor& y, int64_t n);

}  // namespace espalier
