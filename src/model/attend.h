#pragma once
// Softmax attention of one block on whole heads: among the tokens of a pass, or with a cache of earlier ones.
#include <ATen/core/Tensor.h>

#include "espalier/model/kv_cache.h"
#include "espalier/model/model.h"
#include "tap.h"

namespace espalier {

struct Attended {
  at::Tensor out;    // [B, H, T, D]
  at::Tensor score;  // [B, H, T, 1] factor on it, or undefined
};

struct AttendInput {
  const ModelConfig& config;
  const BlockConfig& block;
  const Attention& attention;
  at::Tensor q;     // [B, H, T, D] after RoPE
  at::Tensor k, v;  // [B, G, T, D]
};

Attended Attend(const AttendInput& input, const Tap& tap);
// raw_q [B, H, T, D]: the queries before RoPE.
Attended Attend(const AttendInput& input, const at::Tensor& raw_q, KvCache& cache, int64_t block);

}  // namespace espalier
