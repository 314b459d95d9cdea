#pragma once
// Intervals that need no resampling.
#include <cstdint>

#include "espalier/evaluate/bootstrap.h"

namespace espalier {

// Of a share of independent successes (Wilson 1927): inside [0, 1] and right for few items. `mean` is the share itself.
Interval WilsonInterval(int64_t successes, int64_t count, double confidence = 0.95);

}  // namespace espalier
