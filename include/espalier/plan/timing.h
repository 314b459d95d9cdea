#pragma once
// What units cost in time on this machine: for budgets in milliseconds.
#include <cstdint>

namespace espalier {

struct Model;

// Picoseconds that one multiply-accumulate of a linear layer takes in a prefill of kTimedTokens tokens, with all that
// goes with it: of attention its whole time, which the products of queries, keys and values are part of; of the FFN
// what shrinks with its width, without its norm and addition.
inline constexpr int64_t kTimedTokens = 512;
struct Timing {
  double attention = 0, ffn = 0, head = 0;
};

// Measured on the widest attention, on the widest FFN at its full and at half its width, and on the head: medians of
// repeated runs, about two seconds in all.
Timing MeasureTiming(const Model& model);

}  // namespace espalier
