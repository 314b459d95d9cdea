#pragma once
// Which sublayers step a spike up or down, and the neurons behind them: arXiv 2603.05498, section 3.1 and Table 1.
#include "espalier/analyze/analyze.h"
#include "spikes.h"

namespace espalier {

// A sublayer steps a channel up when the value after it spikes and it wrote at least step_share of that value; it steps
// one down when the value before it spikes and it took away at least that share. Call once a block, in order, with the
// block's finished census.
void AddSteps(const Model& model, int64_t l, const SpikeMeter& meter, const BlockPhenomena& block,
              const AnalyzeOptions& options, Phenomena& phenomena);

// Once all blocks are there: drops step-ups of FFNs that the next block does not carry (no plateau); the channels that
// spike anywhere, strongest first, and the mean of the blocks' maxima.
void SummariseSpikes(const AnalyzeOptions& options, Phenomena& phenomena);

}  // namespace espalier
