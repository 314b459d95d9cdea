#pragma once
// First- and second-order effects of single weights on the loss, summed over what each unit owns.
#include "espalier/calibrate/scratch.h"
#include "espalier/calibrate/statistics.h"
#include "espalier/model/block_source.h"

namespace espalier {

// Fills BlockStatistics::taylor for every unit kind of a block, after LLM-Pruner (Ma et al. 2023, arXiv 2305.11627).
// With g_n the gradient of the mean loss of sequence n, s = W o mean_n g_n and F = mean_n g_n^2, the three columns of
// [units, 3] are the sums over all weights of linear layers that the unit owns of
//   |s|      W^2 F      |s - W^2 F / 2|.
// windows [S, T] int64. Blocks come last to first, all sequences each: memory holds one block and its gradients, the
// block inputs of all windows are in `scratch`. Gradients of weights are not additive over calibrations: calling this
// twice replaces. NumericError naming the block when a gradient is not finite.
void AddTaylorSums(const BlockSource& source, const at::Tensor& windows, const Scratch& scratch,
                   Statistics& statistics);

}  // namespace espalier
