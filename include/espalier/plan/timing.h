#pragma once
// What units cost in time on this machine: for budgets in milliseconds.
#include <cstdint>

namespace espalier {

struct Model;

// Picoseconds that one multiply-accumulate of a linear layer takes in a prefill of kTimedTokens tokens, with all that
// grows with it: of attention also the products of queries, keys and values, of the FFN also its activation. What does
// not shrink with a sublayer's width (its norm, its addition) is not in it.
inline constexpr int64_t kTimedTokens = 512;
struct Timing {
  double attention = 0, ffn = 0, head = 0;
};

// Measured on the widest attention and the widest FFN of the model, each at its full and at about half its width, and
// on the head: medians of repeated runs, about two seconds in all. Other work on the machine makes it slower, not
// wrong.
Timing MeasureTiming(const Model& model);

}  // namespace espalier
