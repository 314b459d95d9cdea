// The rendered sample, byte for byte. ESPALIER_UPDATE_GOLDENS=1 rewrites the files; the review reads the difference.
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "espalier/core/files.h"
#include "espalier/report/report.h"
#include "support/report_sample.h"

namespace espalier {
namespace {

void ExpectGolden(const std::string& name, const std::string& text) {
  const std::filesystem::path path = std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/goldens/report" / name;
  const char* update = std::getenv("ESPALIER_UPDATE_GOLDENS");
  if (update != nullptr && std::string(update) == "1") WriteFile(path, text);
  // Not EXPECT_EQ: two pages of HTML in a message help nobody.
  EXPECT_TRUE(ReadFile(path) == text)
      << path << " differs; write what the test got with ESPALIER_UPDATE_GOLDENS=1 and read the difference";
}

TEST(ReportGolden, JsonIsUnchanged) {
  ExpectGolden("report.json", DumpJson(BuildReport(SampleReport())));
}

TEST(ReportGolden, MarkdownIsUnchanged) {
  ExpectGolden("report.md", RenderMarkdown(BuildReport(SampleReport())));
}

TEST(ReportGolden, HtmlIsUnchanged) {
  ExpectGolden("report.html", RenderHtml(BuildReport(SampleReport())));
}

TEST(ReportGolden, TerminalTableIsUnchanged) {
  ExpectGolden("terminal.txt", RenderTerminalTable(BuildReport(SampleReport())));
}

}  // namespace
}  // namespace espalier
