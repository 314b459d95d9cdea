#pragma once
// Phenomena as models would give them, with every field filled: figures in the size that was measured, made up in
// detail.
#include "espalier/analyze/phenomena.h"

namespace espalier {

// 30 blocks of 9 heads as SmolLM2-135M has them. `variant` 0 is the dense model; others differ a little.
Phenomena SamplePhenomena(const std::string& name, uint64_t variant);
// "pruned", with the large step-up and its neurons lost and most sinks gone.
Phenomena SampleBroken();
// 12 blocks of 8 heads: elementwise gates in the first six, headwise in the others; no spikes, few sinks.
Phenomena SampleGated();
// 12 blocks of 8 heads with sink logits, every second block windowed.
Phenomena SampleSinkLogits();

}  // namespace espalier
