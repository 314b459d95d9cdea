#pragma once
// A calibration that measures all that any component asks for.
#include "espalier/calibrate/calibrate.h"

namespace espalier {

inline CalibrateOptions EveryStatistic(int64_t gradient_tokens) {
  CalibrateOptions options;
  options.gradient_tokens = gradient_tokens;
  for (const StatisticsNeed& need : kStatisticsNeeds)
    if (need.option != nullptr) options.*need.option = true;
  return options;
}

}  // namespace espalier
