// The rendered sample, byte for byte. ESPALIER_UPDATE_GOLDENS=1 rewrites the files; the review reads the difference.
#include "support/golden.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/report/analysis.h"
#include "espalier/report/report.h"
#include "support/phenomena_sample.h"
#include "support/report_sample.h"

namespace espalier {
namespace {

void ExpectReportGolden(const std::string& name, const std::string& text) {
  ExpectGolden("report/" + name, text);
}

TEST(ReportGolden, JsonIsUnchanged) {
  ReportInput input = SampleReport();
  input.phenomena.resize(1);  // one model shows the form; three are half a megabyte more to review
  ExpectReportGolden("report.json", DumpJson(BuildReport(input)));
}

TEST(ReportGolden, MarkdownIsUnchanged) {
  ExpectReportGolden("report.md", RenderMarkdown(BuildReport(SampleReport())));
}

TEST(ReportGolden, HtmlIsUnchanged) {
  ExpectReportGolden("report.html", RenderHtml(BuildReport(SampleReport())));
}

TEST(ReportGolden, TerminalTableIsUnchanged) {
  ExpectReportGolden("terminal.txt", RenderTerminalTable(BuildReport(SampleReport())));
}

// One model of each kind, and a pair: every part of the page and of the table is in one of them.
TEST(ReportGolden, AnalysisOfOneModelIsUnchanged) {
  ExpectReportGolden("analysis.html", RenderAnalysisHtml({SamplePhenomena("smollm2-135m", 0)}, {}, {{"seed", "0"}}));
  ExpectReportGolden("analysis.txt", RenderAnalysisTable({SamplePhenomena("smollm2-135m", 0)}, {}));
}

TEST(ReportGolden, AnalysisOfGatesIsUnchanged) {
  ExpectReportGolden("analysis-gated.html", RenderAnalysisHtml({SampleGated()}, {}, {}));
  ExpectReportGolden("analysis-gated.txt", RenderAnalysisTable({SampleGated()}, {}));
  ExpectReportGolden("analysis-sink-logits.txt", RenderAnalysisTable({SampleSinkLogits()}, {}));
}

// Of the page of two models the pictures and rows are those of one, twice: the text alone is kept.
TEST(ReportGolden, AnalysisOfTwoModelsIsUnchanged) {
  ExpectReportGolden("analysis-pair.txt",
                     RenderAnalysisTable({SamplePhenomena("dense", 0), SampleBroken()},
                                         {"The step-up in block 11 is gone from the pruned model."}));
}

}  // namespace
}  // namespace espalier
