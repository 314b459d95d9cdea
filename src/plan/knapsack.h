#pragma once
// The multiple-choice knapsack: of every group one level, so that together they save enough and cost least.
#include <cstdint>
#include <vector>

namespace espalier {

struct Level {
  int64_t saving = 0;  // positive
  double cost = 0;     // may be negative
};

// The level of each group, -1 for none: of all choices that save `target` at least, one of least cost; where none does,
// of those that save most. Exact by dynamic programming for targets up to `resolution`; above it savings are rounded
// down to `resolution` parts of the target. Time: levels of all groups times the smaller of the two.
std::vector<int64_t> ChooseLevels(const std::vector<std::vector<Level>>& groups, int64_t target,
                                  int64_t resolution = 10000);

}  // namespace espalier
