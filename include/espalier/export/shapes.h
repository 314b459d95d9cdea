#pragma once
// Exact rewritings of a pruned model into shapes that other programs hold: the logits stay, only rounding differs.
#include <cstdint>

#include "espalier/model/model.h"

namespace espalier {

// Sizes that a block is padded to: G key/value groups of `heads_per_group` query heads each, FFN width F.
struct PaddedSizes {
  int64_t G = 0, heads_per_group = 0, F = 0;
};

// The least sizes without ragged heads and with equally many query heads in every group. Zero where a sublayer is gone.
PaddedSizes EvenSizes(const BlockConfig& block);
// Those that every block of the model fits.
PaddedSizes LargestSizes(const ModelConfig& config);

// Gives block `l` these sizes; what is added is zero, so it computes nothing. A sublayer that is gone comes back as one
// of zeros when its size is not zero, its constant as the bias of its output projection. Groups keep their places.
// ShapeError: the block is larger, one norm spans all heads (OLMo 2) and heads would be added, or a constant stands
// behind a norm of the sublayer's output.
void PadBlock(Model& model, int64_t l, const PaddedSizes& sizes);
// Every block with the largest sizes of any.
Model PaddedUniform(const Model& model);

// Blocks that have lost both sublayers are left out, and the constants of those that have lost attention go into the
// bias of the down projection before them: the same place of the residual stream. What has nothing before it stays.
// Only in pre-norm models; others lose the blocks that have no constants.
Model FoldRemoved(const Model& model);

// All blocks have both sublayers, and the same whole heads and width.
bool IsUniform(const ModelConfig& config);

}  // namespace espalier
