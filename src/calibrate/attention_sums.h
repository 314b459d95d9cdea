#pragma once
// What heads look at and how far their gates are open, summed over tokens.
#include "espalier/calibrate/calibrate.h"

namespace espalier {

// Adds the taps of one batch:
//   "sink_mass"   [H], sum over positions from 1 of the attention probability of position 0 (position 0 itself sees
//                 nothing else); arXiv 2601.06787
//   "gate_score"  [H], sum over positions of the output gate's score, the mean over channels when it is elementwise;
//                 only where there is a gate; arXiv 2505.06708
void AddAttention(const BlockTaps& taps, NamedSums& sums);

}  // namespace espalier
