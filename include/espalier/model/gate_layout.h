#pragma once
// The layouts in which checkpoints fuse the query projection and the output gate into one q_proj (arXiv 2505.06708, its
// published code, and Qwen3-Next): codecs, so that everything else sees w_q and w_output_gate.
#include <ATen/core/Tensor.h>

#include <string>

#include "espalier/model/config.h"

namespace espalier {

struct QueryAndGate {
  at::Tensor query;  // [H*D, ...]
  at::Tensor gate;   // [H*D, ...] or [H, ...]
};

// Rows of the fused weight [rows, C] or bias [rows]. With j the KV group, r the query head in it, g = H / G heads a
// group, c the channel and h = j*g + r:
//   grouped, elementwise (A)   query j*2gD + r*D + c      gate j*2gD + gD + r*D + c
//   grouped, headwise (B)      query j*(gD+g) + r*D + c   gate j*(gD+g) + gD + r
//   per head, elementwise (C)  query h*2D + c             gate h*2D + D + c
// IoError naming `what` when the number of rows is another; the layout comes from the configuration, never from it.
QueryAndGate SplitQueryAndGate(const at::Tensor& fused, GateLayout layout, const BlockConfig& block, int64_t D,
                               const std::string& what);
// The inverse, bit for bit. Of uneven or ragged heads too, each with the rows it has; other programs read only even
// ones.
at::Tensor FuseQueryAndGate(const QueryAndGate& parts, GateLayout layout, const BlockConfig& block, int64_t D);

}  // namespace espalier
