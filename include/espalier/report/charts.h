#pragma once
// The charts of the run report's page, next to those of phenomena. Each is drawn for a width in pixels, so that the
// type has the same size on a phone and on a desk; empty text when the report has nothing to draw.
#include <string>

#include "espalier/report/phenomena_charts.h"
#include "espalier/report/view.h"

namespace espalier {

// Class of a model's colour, "m0" to "m5"; the marker has the same number. Dense, pruned and healed keep theirs.
size_t ModelStyle(const Comparison& comparison, const std::string& model);
StyledModels AnalysedModels(const ReportView& view);

std::string PerplexityChart(const ReportView& view, double width);  // bars with 95 % whiskers, a group for each corpus
std::string KeptUnitsChart(const ReportView& view, double width);   // FFN channels and KV groups of each block
std::string HealingChart(const ReportView& view, double width);     // loss over tokens

}  // namespace espalier
