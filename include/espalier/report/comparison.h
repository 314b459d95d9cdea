#pragma once
// A comparison of two models for a terminal, for a pull request, and as a page.
#include <string>

#include "espalier/evaluate/comparison.h"

namespace espalier {

// "PASS: perplexity of HEAD is at most 1 % above BASE on both texts."
std::string ComparisonSummary(const PairedComparison& comparison);
// "perplexity 29.24, 29.22 before: ×1.00 [0.999, 1.002] over 16,376 tokens", and the reason.
std::string PairedResultText(const PairedResult& result);

std::string RenderComparisonTable(const PairedComparison& comparison);     // ends with the summary
std::string RenderComparisonMarkdown(const PairedComparison& comparison);  // fits a pull-request comment
std::string RenderComparisonHtml(const PairedComparison& comparison);      // self-contained, inline SVG, light and dark
std::string RenderComparisonCsv(const PairedComparison& comparison);       // a line for each text

}  // namespace espalier
