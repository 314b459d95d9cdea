#pragma once
// Spike channels found in the weights alone: arXiv 2603.05498, section 3.1.2. An FFN output channel k whose quadratic
// form U_k has an outlier Frobenius norm amplifies one direction s*, lambda* |x|^2 cos^2(x, s*).
#include "espalier/analyze/analyze.h"
#include "espalier/analyze/phenomena.h"
#include "espalier/model/model.h"

namespace espalier {

// Channels whose |U_k|_F is at least scan_ratio times the median of their block's channels, strongest first by that
// ratio, at most scan_channels of a block, and of those the ones with a dominance of at least scan_dominance. A median
// of all blocks would rank blocks and not channels: on SmolLM2-135M block medians run from 2 to 27, and the three
// channels with the largest ratio (43, 14, 10; the next is 8.7) are what its three main steps write. Four more reach a
// ratio of 3 with a dominance of 0.03, everything else that does has 0.26 and more. Gains of the norms before and
// behind the FFN are folded in (1 + gain where the family adds one); a norm behind the FFN also divides by the RMS of
// what it gets, which weights alone do not show. Agreement is left at 0.
AmplifierScan FindAmplifiers(const Model& model, const AnalyzeOptions& options);

// Counts the census's step neurons that the scan names as responsible, and the spikes that the census's step FFNs write
// (one for each FFN and spike channel) whose block and channel the scan lists.
void CompareWithCensus(const Phenomena& phenomena, AmplifierScan& scan);

}  // namespace espalier
