#include "workflow.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "espalier/cli/command.h"

namespace espalier {
namespace {

constexpr size_t kMostSummary = size_t{1} << 20;  // of all commands of a step; what is more is not shown at all

}  // namespace

int ExitCodeOf(const std::vector<JudgedCase>& cases) {
  int code = kExitPass;
  for (const JudgedCase& one : cases) {
    if (one.verdict == "fail") return kExitRegression;
    if (one.verdict == "inconclusive") code = kExitInconclusive;
  }
  return code;
}

void TellWorkflow(const std::vector<JudgedCase>& cases, const std::string& markdown) {
  if (std::getenv("GITHUB_ACTIONS") != nullptr) std::fputs(RenderAnnotations(cases).c_str(), stdout);
  const char* summary = std::getenv("GITHUB_STEP_SUMMARY");
  if (summary == nullptr || *summary == 0) return;
  std::error_code error;
  const auto before = std::filesystem::file_size(summary, error);
  if (!error && before + markdown.size() >= kMostSummary) return;
  std::ofstream(summary, std::ios::app) << markdown << "\n";
}

}  // namespace espalier
