#pragma once
// The thresholds of an analysis as options: a recipe's `analyze` section and the command's key=value are one list.
#include <vector>

#include "espalier/analyze/analyze.h"
#include "espalier/core/options.h"

namespace espalier {

std::vector<OptionSpec> AnalyzeOptionSpecs();
AnalyzeOptions AnalyzeOptionsFrom(const Options& options);

}  // namespace espalier
