#pragma once
// What `compare` and `eval --against` share: the flags of a judgement, and where its outcome goes.
#include <boost/program_options.hpp>
#include <filesystem>

#include "espalier/evaluate/comparison.h"

namespace espalier {

// --tolerance, --drop, --confidence, --identical.
void AddJudgingFlags(boost::program_options::options_description& flags, Verdict identical);
CompareOptions JudgingOptions(const boost::program_options::variables_map& parsed);
inline constexpr const char* kJudgingHelp =
    "  --tolerance T   perplexity may rise by this share of the base's (0.01)\n"
    "  --drop D        accuracy may fall by this much (0.01: one point)\n"
    "  --confidence C  of intervals and verdicts (0.95)\n"
    "  --identical V   what losses that are equal to the last bit mean: pass, fail or inconclusive\n";

// Prints the table and writes comparison.json, .md, .html, .csv and junit.xml into `out`. Under GitHub Actions also
// annotations and the step summary. Returns the exit code: 0 pass, 1 fail, 3 inconclusive.
int ReportComparison(const PairedComparison& comparison, const std::filesystem::path& out);

}  // namespace espalier
