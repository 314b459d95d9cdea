#pragma once
// How much sublayers and blocks turn the residual stream.
#include "espalier/calibrate/calibrate.h"

namespace espalier {

// Adds the taps of one batch under "attention", "ffn" and "block", each [5]:
//   tokens, sum of cos(h_in, h_out), sum of arccos(cos) / pi over counted tokens (ShortGPT, arXiv 2403.03853);
//   sequences, sum of arccos(cos) / pi of each sequence's last token (arXiv 2403.17887).
// counted [B, T] bool.
void AddInfluence(const BlockTaps& taps, const at::Tensor& counted, NamedSums& sums);

}  // namespace espalier
