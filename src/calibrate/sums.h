#pragma once
// The groups of named sums of a block, for code that treats them alike.
#include <ATen/core/Tensor.h>

#include <string_view>

#include "espalier/calibrate/statistics.h"

namespace espalier {

struct SumGroup {
  std::string_view name;  // in statistics files
  NamedSums BlockStatistics::*member;
  bool additive;  // over tokens
  bool narrow;    // stored in float32
};
inline constexpr SumGroup kSumGroups[] = {
    {"loss_mass", &BlockStatistics::loss_mass, true, false},
    {"gradient_products", &BlockStatistics::gradient_products, true, true},
    {"taylor", &BlockStatistics::taylor, false, false},
    {"attention", &BlockStatistics::attention, true, false},
    {"influence", &BlockStatistics::influence, true, false},
};

// Adds `more` to the sum of that name, or starts it.
void AddTo(NamedSums& sums, std::string_view name, const at::Tensor& more);

}  // namespace espalier
