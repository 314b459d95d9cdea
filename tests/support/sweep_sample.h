#pragma once
#include "espalier/report/sweep.h"

namespace espalier {

// Invented figures: several shares and three seeds; one cell failed and one is still to do.
SweepReport SampleSweep();
// One share, the ladder of protection.
SweepReport SampleComparison();

}  // namespace espalier
