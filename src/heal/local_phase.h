#pragma once
// Before a model is trained as a whole: its blocks one after the other, each fitted alone to the dense model's block.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "checkpoints.h"
#include "espalier/heal/trainer.h"

namespace espalier {

// The mean error of a token, ||y - t||^2 / ||t||^2, before and after fitting, for each block so far. Relative to the
// token's own size: the spike tokens of a stream are ten thousand times larger than the rest.
struct LocalErrors {
  std::vector<double> before, after;
};

// With t what the dense block makes of the dense stream and y what the pruned one makes of the stream that reaches it,
// the fitted blocks before it included: the trainables of each block (named block<l>.*) take local_tokens / (batch *
// length) steps of AdamW down that error, each window once, at options.schedule from options.local_rate. In `windows`
// [S, length] int64 are those of training. A block that already gives what it should is left alone.
// Relatives: block-wise reconstruction as BRECQ (arXiv 2102.05426) does it for quantisation.
// `state` keeps what is fitted, block by block; a run that was killed goes on with the block at hand and ends bitwise
// the same. Memory: two streams [local_tokens, C] and one block's activations of a batch.
// NumericError naming the block when an error is not finite.
LocalErrors FitBlocks(const Model& teacher, Model& model, const std::vector<Trainable>& trainables,
                      const at::Tensor& windows, const HealOptions& options, const Checkpoints& state);

}  // namespace espalier
