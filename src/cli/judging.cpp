#include "judging.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/version.h"
#include "espalier/report/comparison.h"
#include "workflow.h"

namespace espalier {
namespace {

namespace po = boost::program_options;
namespace fs = std::filesystem;

Verdict VerdictOf(const std::string& name) {
  for (const Verdict verdict : {Verdict::kPass, Verdict::kFail, Verdict::kInconclusive})
    if (VerdictName(verdict) == name) return verdict;
  throw RecipeError(fmt::format("--identical: found '{}', expected pass, fail or inconclusive", name));
}

std::vector<JudgedCase> Cases(const PairedComparison& comparison) {
  std::vector<JudgedCase> cases;
  for (const PairedResult& result : comparison.results)
    cases.push_back({fmt::format("{} against {}", comparison.head, comparison.base),
                     fmt::format("{} of {} {}", result.metric, result.id, LimitText(result)),
                     std::string(VerdictName(result.verdict)), PairedResultText(result), "", 0});
  return cases;
}

}  // namespace

void AddJudgingFlags(po::options_description& flags, Verdict identical) {
  const CompareOptions defaults;
  flags.add_options()("tolerance", po::value<double>()->default_value(defaults.tolerance))(
      "drop", po::value<double>()->default_value(defaults.drop))(
      "confidence", po::value<double>()->default_value(defaults.confidence))(
      "identical", po::value<std::string>()->default_value(std::string(VerdictName(identical))));
}

CompareOptions JudgingOptions(const po::variables_map& parsed) {
  CompareOptions options;
  options.tolerance = parsed["tolerance"].as<double>();
  options.drop = parsed["drop"].as<double>();
  options.confidence = parsed["confidence"].as<double>();
  options.identical = VerdictOf(parsed["identical"].as<std::string>());
  if (!(options.tolerance >= 0 && options.tolerance <= 100))
    throw RecipeError(
        fmt::format("--tolerance: found {}, expected a share from 0 to 100 (0.01 is 1 %)", options.tolerance));
  if (!(options.drop >= 0 && options.drop < 1))
    throw RecipeError(fmt::format("--drop: found {}, expected 0 to 1 (0.01 is one point)", options.drop));
  if (!(options.confidence >= 0.5 && options.confidence <= 0.999))
    throw RecipeError(fmt::format("--confidence: found {}, expected 0.5 to 0.999", options.confidence));
  return options;
}

int ReportComparison(const PairedComparison& comparison, const fs::path& out) {
  WriteJson(out / "comparison.json", ComparisonToJson(comparison));
  WriteFile(out / "comparison.md", RenderComparisonMarkdown(comparison));
  WriteFile(out / "comparison.html", RenderComparisonHtml(comparison));
  WriteFile(out / "comparison.csv", RenderComparisonCsv(comparison));
  WriteFile(out / "junit.xml", RenderJUnit(Cases(comparison), {{"espalier", std::string(Version())}}));
  std::fputs(RenderComparisonTable(comparison).c_str(), stdout);
  std::fputs(fmt::format("report: {}\n", (out / "comparison.html").string()).c_str(), stdout);
  const std::vector<JudgedCase> cases = Cases(comparison);
  TellWorkflow(cases, RenderComparisonMarkdown(comparison));
  return ExitCodeOf(cases);
}

}  // namespace espalier
