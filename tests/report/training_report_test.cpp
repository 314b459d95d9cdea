#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>

#include "espalier/core/error.h"
#include "espalier/report/training.h"
#include "support/json_schema.h"
#include "support/support.h"
#include "support/well_formed.h"

namespace espalier {
namespace {

using Texts = std::vector<std::string>;

TrainingCell Cell(const std::string& variant, int64_t seed, double rate, double loss, double spike) {
  TrainingCell cell{variant, seed, rate, "cells/" + variant, TrainingState::kFinished, "", TrainingRun()};
  cell.run->loss = loss, cell.run->initial_loss = 5.5;
  cell.run->spike = spike, cell.run->spike_ratio = 2 * spike, cell.run->massive_mean = spike / 2;
  cell.run->sink_rate = 0.25, cell.run->first_token_mass = 0.5;
  cell.run->gate = std::numeric_limits<double>::quiet_NaN();
  cell.run->curve = {{0, 64}, {5.5, 4}, {0, 128}, {5.5, loss}};
  return cell;
}

// Two variants, two seeds: the second has the lower spike with both, the lower loss with one.
TrainingReport Sample() {
  TrainingReport report;
  report.name = "sample", report.question = "Which?", report.data = "the bytes of x";
  report.tokens = 128, report.length = 64, report.sink_length = 32, report.sink_epsilon = 0.3;
  report.optimal_loss = 1.5;
  report.seeds = {0, 1}, report.learning_rates = {0.01};
  report.variants = {{"plain", {}, 1000}, {"calm", {"model.norm_placement=sandwich"}, 1200}};
  report.cells = {Cell("plain", 0, 0.01, 2, 100), Cell("calm", 0, 0.01, 2.5, 40), Cell("plain", 1, 0.01, 3, 120),
                  Cell("calm", 1, 0.01, 2.75, 50)};
  report.provenance = {{"threads", "1"}};
  return report;
}

// Three rates; one variant diverges at the second and, by chance, not at the third.
TrainingReport Probe() {
  TrainingReport report = Sample();
  report.seeds = {0};
  report.learning_rates = {0.1, 0.01, 1};
  report.cells = {Cell("plain", 0, 0.01, 2, 1), Cell("plain", 0, 1, 3, 1), Cell("calm", 0, 0.01, 2, 1),
                  Cell("calm", 0, 0.1, 2, 1)};
  report.cells.push_back(
      {"plain", 0, 0.1, "cells/p", TrainingState::kDiverged, "the loss is not finite", std::nullopt});
  report.cells.push_back({"calm", 0, 1, "cells/c", TrainingState::kFailed, "disk", std::nullopt});
  return report;
}

TrainingReport Hostile() {
  TrainingReport report = Probe();
  const std::string bad = "<script>alert(\"1\")</script>&\x01|`*\xff";
  report.name = report.question = report.data = bad;
  for (TrainingVariant& variant : report.variants) variant.set = {bad};
  for (TrainingCell& cell : report.cells) {
    cell.error = bad;
    if (cell.run) cell.run->loss = std::numeric_limits<double>::infinity(), cell.run->spike = NAN;
    if (cell.run) cell.run->curve.held_out_loss = {NAN, INFINITY};
  }
  report.provenance = {{bad, bad}};
  return report;
}

TEST(TrainingReport, KeepsToItsPublishedSchemaAndReadsBack) {
  for (const TrainingReport& report : {Sample(), Probe(), Hostile(), TrainingReport()}) {
    const std::string text = DumpJson(TrainingToJson(report));
    const Json json = ParseJson(text, "training.json");
    EXPECT_EQ(SchemaCheck::Problems(json, "training-1"), Texts{});
    EXPECT_EQ(DumpJson(TrainingToJson(TrainingFromJson(json, "training.json"))), text);
  }
}

TEST(TrainingReport, SaysMeansAndRangesOverSeeds) {
  const std::string markdown = RenderTrainingMarkdown(Sample());
  EXPECT_NE(markdown.find("| plain | 1,000 | 2.500 (2.000 to 3.000) | "), std::string::npos) << markdown;
  EXPECT_NE(markdown.find("110.0 (100.0 to 120.0)"), std::string::npos) << markdown;
}

TEST(TrainingReport, CallsAnOrderingWhatAllSeedsAgreeOn) {
  const std::string markdown = RenderTrainingMarkdown(Sample());
  // Spike: 40 - 100 = -60 and 50 - 120 = -70. Loss: 0.5 and -0.25.
  EXPECT_NE(markdown.find("-65.00 (-70.00 to -60.00), lower"), std::string::npos) << markdown;
  EXPECT_NE(markdown.find("0.125 (-0.250 to 0.500), not decided"), std::string::npos) << markdown;
}

TEST(TrainingReport, StopsTheStableRateAtTheFirstThatDiverged) {
  const std::string markdown = RenderTrainingMarkdown(Probe());
  EXPECT_NE(markdown.find("| plain | diverged | 2.000 | 3.000 | 0.01 |"), std::string::npos) << markdown;
  EXPECT_NE(markdown.find("| calm | 2.000 | 2.000 | - | 0.1 |"), std::string::npos) << markdown;
}

TEST(TrainingReport, PagesAreWellFormedWhateverTheTexts) {
  for (const TrainingReport& report : {Sample(), Probe(), Hostile(), TrainingReport()}) {
    const std::string html = RenderTrainingHtml(report);
    EXPECT_EQ(XmlProblem(html), "");
    EXPECT_EQ(html.find("<script>alert"), std::string::npos);
    for (const char* fetched : {"src=\"", "<link", "url("}) EXPECT_EQ(html.find(fetched), std::string::npos) << fetched;
    EXPECT_FALSE(std::regex_search(html.substr(html.find("<main>")), std::regex("\\b(nan|inf)\\b")));
  }
  EXPECT_NE(TrainingChart(Sample(), 600).find("calm, seed 1, rate 0.01, after 128 tokens: 2.750"), std::string::npos);
}

TEST(TrainingReport, FitsATerminal) {
  size_t longest = 0;
  for (const TrainingReport& report : {Sample(), Probe()})
    longest = std::max(longest, LongestLine(RenderTrainingTable(report)));
  EXPECT_LE(longest, 100u);
}

}  // namespace
}  // namespace espalier
