#pragma once
// A comparison of two models for a terminal, for a pull request, and as a page.
#include <string>

#include "espalier/evaluate/comparison.h"

namespace espalier {

// "FAIL: perplexity-c4 x1.0463 (limit: at most x1.01)."
std::string ComparisonSummary(const PairedComparison& comparison);
std::string ChangeText(const PairedResult& result);      // "x1.0463", "-1.20 points"
std::string ChangeInterval(const PairedResult& result);  // "[1.0121, 1.0739]"
std::string LimitText(const PairedResult& result);       // "at most x1.01", "at least -1 points"
// "perplexity 29.24 to 29.22: x0.9993 [0.9981, 1.0005] over 16,376 tokens", and the reason.
std::string PairedResultText(const PairedResult& result);

std::string RenderComparisonTable(const PairedComparison& comparison);     // ends with the summary
std::string RenderComparisonMarkdown(const PairedComparison& comparison);  // fits a pull-request comment
std::string RenderComparisonHtml(const PairedComparison& comparison);      // self-contained, inline SVG, light and dark
std::string RenderComparisonCsv(const PairedComparison& comparison);       // a line for each text

}  // namespace espalier
