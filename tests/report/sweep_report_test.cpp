#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>

#include "espalier/core/error.h"
#include "espalier/report/sweep.h"
#include "support/golden.h"
#include "support/json_schema.h"
#include "support/support.h"
#include "support/sweep_sample.h"
#include "support/well_formed.h"

namespace espalier {
namespace {

using Texts = std::vector<std::string>;

// Every text hostile, every number that may be is not finite.
SweepReport Hostile() {
  SweepReport sweep = SampleSweep();
  const std::string bad = "<script>alert(\"1\")</script>&\x01|`*\xff";
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  sweep.name = sweep.question = sweep.budget_of = bad;
  for (SweepVariant& variant : sweep.variants) variant.set = {bad}, variant.method = bad;
  for (SweepText& text : sweep.texts) {
    text.corpus = text.preset = bad;
    text.protocol = {{bad, bad}};
    text.dense = inf;
  }
  for (SweepCell& cell : sweep.cells) {
    cell.error = bad;
    if (!cell.run) continue;
    for (SweepFigure& figure : cell.run->figures) figure.perplexity = figure.ratio = inf;
    for (SweepPhenomena& phenomena : cell.run->phenomena) phenomena.sink_rate = phenomena.largest_spike = nan;
  }
  for (size_t i = 0; i < sweep.points.size(); ++i) {
    sweep.points[i].ratio = i % 2 == 0 ? inf : nan;
    sweep.points[i].perplexity = i % 3 == 0 ? inf : i % 3 == 1 ? nan : 30;
  }
  sweep.provenance = {{bad, bad}};
  return sweep;
}

TEST(SweepReport, KeepsToItsPublishedSchemaAndReadsBack) {
  for (const SweepReport& sweep : {SampleSweep(), SampleComparison(), Hostile(), SweepReport()}) {
    const std::string text = DumpJson(SweepToJson(sweep));
    const Json json = ParseJson(text, "sweep.json");
    EXPECT_EQ(SchemaCheck::Problems(json, "sweep-1"), Texts{});
    EXPECT_EQ(DumpJson(SweepToJson(SweepFromJson(json, "sweep.json"))), text);
  }
}

TEST(SweepReport, RefusesWhatIsNotASweep) {
  Json json = SweepToJson(SampleSweep());
  json["cells"][0]["state"] = "done";
  EXPECT_NE(MessageOf([&] { SweepFromJson(json, "s.json"); }).find("unknown state 'done'"), std::string::npos);
  EXPECT_NE(MessageOf([&] {
              SweepFromJson(Json{{"schema", "espalier.report/1"}}, "s.json");
            }).find("s.json"),
            std::string::npos);
}

TEST(SweepReport, PagesAndPicturesAreWellFormedWhateverTheTexts) {
  for (const SweepReport& sweep : {SampleSweep(), SampleComparison(), Hostile(), SweepReport()}) {
    const std::string html = RenderSweepHtml(sweep);
    EXPECT_EQ(XmlProblem(html), "");
    EXPECT_EQ(html.find("<script>alert"), std::string::npos);
    for (const char* fetched : {"src=\"", "<link", "url("}) EXPECT_EQ(html.find(fetched), std::string::npos) << fetched;
    const std::string shown = html.substr(html.find("<main>"), html.find("<script>") - html.find("<main>"));
    EXPECT_FALSE(std::regex_search(shown, std::regex("\\b(nan|inf)\\b")));
    for (const SweepText& text : sweep.texts) {
      if (const std::string svg = SweepSvg(sweep, text); !svg.empty()) {
        EXPECT_EQ(XmlProblem("<body>" + svg + "</body></html>"), "");
      }
    }
    EXPECT_LE(LongestLine(RenderSweepTable(sweep)), 100u);
  }
}

TEST(SweepReport, APictureHasEveryVariantAndTheDenseModel) {
  const SweepReport sweep = SampleSweep();
  const std::string svg = SweepSvg(sweep, sweep.texts[0]);
  for (const SweepVariant& variant : sweep.variants)
    EXPECT_NE(svg.find(">" + variant.name + "</text>"), std::string::npos) << variant.name;
  EXPECT_NE(svg.find("dense 19.13"), std::string::npos);
  EXPECT_NE(svg.find("xmlns=\"http://www.w3.org/2000/svg\""), std::string::npos);
  EXPECT_EQ(SweepSvg(SweepReport(), sweep.texts[0]), "");  // nothing measured, nothing drawn
}

TEST(SweepReport, MeansAndRangesAreThoseOfTheSeeds) {
  SweepReport sweep = SampleComparison();
  sweep.variants.resize(1);
  sweep.cells = {sweep.cells[0], sweep.cells[7], sweep.cells[14]};
  for (size_t i = 0; i < 3; ++i) sweep.cells[i].run->plan_seconds = static_cast<double>(1 << i);  // 1, 2, 4
  const std::string text = RenderSweepMarkdown(sweep);
  EXPECT_NE(text.find("2.33 (1.00 to 4.00)"), std::string::npos) << text;
}

TEST(SweepReportGolden, IsUnchanged) {
  ExpectGolden("report/sweep.json", DumpJson(SweepToJson(SampleComparison())));
  ExpectGolden("report/sweep.md", RenderSweepMarkdown(SampleSweep()));
  ExpectGolden("report/sweep.html", RenderSweepHtml(SampleSweep()));
  ExpectGolden("report/sweep.txt", RenderSweepTable(SampleSweep()));
  ExpectGolden("report/sweep-compare.html", RenderSweepHtml(SampleComparison()));
  ExpectGolden("report/sweep-compare.svg", SweepSvg(SampleComparison(), SampleComparison().texts[0]));
}

}  // namespace
}  // namespace espalier
