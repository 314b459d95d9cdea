#include "espalier/report/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>

#include "espalier/report/csv.h"
#include "espalier/report/view.h"
#include "support/json_schema.h"
#include "support/report_sample.h"
#include "support/support.h"
#include "support/well_formed.h"

namespace espalier {
namespace {

using Texts = std::vector<std::string>;

// A run that only measured: two models from files, one corpus, nothing pruned.
ReportInput EvaluationOnly() {
  ReportInput input;
  input.recipe_name = "eval";
  input.results = {{"perplexity-c4",
                    "perplexity",
                    "dense",
                    {{"preset", "lm-eval"}, {"corpus", "c4"}},
                    {{"perplexity", 32.92, "", 6138, 31.0, 35.0, ""}}}};
  return input;
}

// Every text hostile, every number that may be is not finite.
ReportInput Hostile() {
  ReportInput input = SampleReport();
  const std::string bad = "<script>alert(\"1\")</script>&\x01|`*\xff";
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  input.recipe_name = input.question = bad;
  input.models[1].name = bad;
  for (Results& results : input.results) {
    results.id += bad;
    if (results.model == "pruned") results.model = bad;
    for (auto& [key, value] : results.protocol) value += bad;
    for (Metric& metric : results.metrics) {
      metric.value = nan;
      if (metric.low) metric.low = -inf;
      if (metric.high) metric.high = inf;
    }
  }
  for (Phenomena& phenomena : input.phenomena) {
    phenomena.sink_rate = nan;
    for (BlockPhenomena& block : phenomena.blocks) block.ffn.residual_max = block.sink_share = inf;
  }
  input.plan->scorer = bad;
  for (ProtectedUnit& unit : input.plan->protected_units) unit.rule = unit.reason = bad;
  for (double& loss : input.healing->loss) loss = nan;
  input.gates[0].text = input.gates[0].detail = bad;
  input.notices = {bad};
  input.provenance = {{bad, bad}};
  return input;
}

void ExpectWellFormed(const std::string& html) {
  EXPECT_EQ(XmlProblem(html), "");
}

TEST(Report, KeepsToItsPublishedSchema) {
  EXPECT_EQ(SchemaCheck::Problems(ParseJson(DumpJson(BuildReport(SampleReport())), "r"), "report-1"), Texts{});
  EXPECT_EQ(SchemaCheck::Problems(ParseJson(DumpJson(BuildReport(EvaluationOnly())), "r"), "report-1"), Texts{});
  EXPECT_EQ(SchemaCheck::Problems(ParseJson(DumpJson(BuildReport(Hostile())), "r"), "report-1"), Texts{});
}

TEST(Report, SchemaCheckFindsWhatIsWrong) {
  Json report = BuildReport(SampleReport());
  report["models"][0].erase("bytes");
  report["plan"]["blocks"][0]["kv_groups"]["indices"] = "2-";
  report["extra"] = 1;
  EXPECT_EQ(SchemaCheck::Problems(report, "report-1"),
            (Texts{"$.models[0]: lacks \"bytes\"", "$.plan.blocks[0].kv_groups.indices: does not match the pattern",
                   "$: has the unknown key extra"}));
}

TEST(Report, ReadsBackWhatItRenders) {
  const Json report = BuildReport(SampleReport());
  const Json parsed = ParseJson(DumpJson(report), "r");
  EXPECT_EQ(RenderHtml(parsed), RenderHtml(report));
  EXPECT_EQ(RenderMarkdown(parsed), RenderMarkdown(report));
  EXPECT_EQ(DumpJson(BuildReport(ReadReport(parsed).data)), DumpJson(report));
}

TEST(Report, HasALineOfCsvForEachFigure) {
  const std::string csv = RenderCsv(BuildReport(SampleReport()));
  EXPECT_TRUE(csv.starts_with("model,evaluation,metric,row,column,value,low,high,count,unit,relative_to\r\n"));
  EXPECT_NE(csv.find("pruned,passkey,accuracy,1024,100,0.125,,,8,,\r\n"), std::string::npos);
  EXPECT_NE(csv.find("pruned,positions-wikitext-2,perplexity_by_position,256-1023,,36,33.75,38.25,1000,,\r\n"),
            std::string::npos);
  EXPECT_EQ(CsvField("a \"b\", c"), "\"a \"\"b\"\", c\"");
}

TEST(Report, RefusesAReportOfAnotherFormNamingTheKey) {
  Json report = BuildReport(SampleReport());
  report["gates"][1]["verdict"] = "maybe";
  EXPECT_EQ(MessageOf([&] { RenderHtml(report); }),
            "report.json: gates[1].verdict: expected pass, fail or inconclusive, found 'maybe'");
  EXPECT_EQ(
      MessageOf([] {
        RenderMarkdown(Json{{"schema", "espalier.report/9"}});
      }),
      "report.json: schema: expected 'espalier.report/1', found 'espalier.report/9'; this version reads no other");
}

TEST(Report, SaysAllThreeSharesAndThePresetOfEachPerplexity) {
  // 70 of 100 block parameters, 120 of 150 parameters, 480 of 600 bytes.
  ReportInput input;
  input.models = {{"dense", 150, 100, 600, 0}, {"pruned", 120, 70, 480, 0}};
  const auto results = [](const std::string& model, double value, std::vector<Metric> more) {
    more.insert(more.begin(), {"perplexity", value, "", 100, {}, {}, ""});
    return Results{"p", "perplexity", model, {{"preset", "gptq-2048"}, {"corpus", "c4"}}, more};
  };
  input.results = {results("dense", 10, {}),
                   results("pruned", 15, {{"perplexity_ratio", 1.5, "", 100, 1.4, 1.6, "dense"}})};
  EXPECT_EQ(Summarize(input),
            "The pruned model keeps 70.0 % of the block parameters (80.0 % of all parameters, 80.0 % of the bytes); "
            "perplexity ×1.50 [1.40, 1.60] on c4 (gptq-2048).");
}

TEST(Report, ComparesOnlyWithinOneCorpusAndPreset) {
  const auto results = [](const std::string& model, const std::string& preset, double value) {
    return Results{"p-" + preset,
                   "perplexity",
                   model,
                   {{"preset", preset}, {"corpus", "c4"}},
                   {{"perplexity", value, "", 100, {}, {}, ""}}};
  };
  const Comparison comparison = Compare({}, {results("dense", "a", 1), results("pruned", "b", 2)});
  ASSERT_EQ(comparison.corpora.size(), 2u);
  EXPECT_EQ(comparison.perplexity[0][0]->value, 1);
  EXPECT_FALSE(comparison.perplexity[0][1]);
  EXPECT_FALSE(comparison.perplexity[1][0]);
  EXPECT_EQ(comparison.perplexity[1][1]->value, 2);
}

TEST(Report, OverallVerdictIsTheWorst) {
  EXPECT_EQ(OverallVerdict({}), "none");
  EXPECT_EQ(OverallVerdict({{"", "pass", ""}, {"", "pass", ""}}), "pass");
  EXPECT_EQ(OverallVerdict({{"", "pass", ""}, {"", "inconclusive", ""}}), "inconclusive");
  EXPECT_EQ(OverallVerdict({{"", "fail", ""}, {"", "inconclusive", ""}}), "fail");
}

TEST(Report, FlagsALostStepUpAndCollapsedSinks) {
  Phenomena dense, pruned;
  dense.step_up = {{2, false}, {11, false}};
  dense.sink_rate = 0.8;
  pruned.model = "pruned";
  pruned.step_up = {{2, false}};
  pruned.sink_rate = 0.39;
  dense.blocks.resize(12);
  pruned.blocks.resize(12);
  ReportInput input;
  input.phenomena = {dense, pruned};
  EXPECT_EQ(PhenomenonFlags(input), (Texts{"pruned: The step-up in block 11 (24 of the paper's numbering) is gone.",
                                           "pruned: The sink rate fell from 80.0 % to 39.0 % of the heads."}));
  input.phenomena = {dense, dense};
  EXPECT_EQ(PhenomenonFlags(input), Texts{});
  // A neuron that the plan cut is flagged although the step-up is still there.
  dense.neurons = {{11, 1229, NeuronRole::kStepUp, 2678, 507, 21024, 0, 0}};
  input.phenomena = {dense, dense};
  input.plan = Plan();
  input.plan->blocks.resize(12);
  input.plan->blocks[11].At(UnitKind::kFfnChannel).kept = {1228, 1230};
  ASSERT_EQ(PhenomenonFlags(input).size(), 1u);
  EXPECT_NE(PhenomenonFlags(input)[0].find("Step-up neuron 1229 of block 11 was removed"), std::string::npos);
}

TEST(Report, RendersWithoutThePartsThatAnEvaluationDoesNotHave) {
  const Json report = BuildReport(EvaluationOnly());
  const std::string html = RenderHtml(report), markdown = RenderMarkdown(report);
  ExpectWellFormed(html);
  EXPECT_NE(markdown.find("Perplexity of the dense model: 32.92 \\[31.00, 35.00\\] on c4 (lm-eval)."),
            std::string::npos);
  for (const char* absent : {"<h2>Healing", "<h2>Gates", "<h2>What each", "<h2>Spike", "class=\"verdict"})
    EXPECT_EQ(html.find(absent), std::string::npos) << absent;
  EXPECT_EQ(RenderTerminalTable(report),
            "perplexity                    c4  times\n"
            "model                    lm-eval  dense\n"
            "dense       32.92 [31.00, 35.00]\n");
  EXPECT_NE(RenderHtml(BuildReport({})).find("This run measured no perplexity."), std::string::npos);
  ExpectWellFormed(RenderHtml(BuildReport({})));
}

TEST(Report, EscapesEveryTextAndShowsNoNumberThatIsNotFinite) {
  const Json report = BuildReport(Hostile());
  const std::string html = RenderHtml(report), markdown = RenderMarkdown(report);
  ExpectWellFormed(html);
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(markdown.find("<script"), std::string::npos);
  for (const std::string& text : {html, markdown, RenderTerminalTable(report), DumpJson(report)}) {
    EXPECT_EQ(text.find('\x01'), std::string::npos);
    EXPECT_EQ(text.find('\xff'), std::string::npos);
    std::smatch number;
    EXPECT_FALSE(std::regex_search(text, number, std::regex("[^a-z](nan|inf|infinity)[^a-z]", std::regex::icase)))
        << number.str() << " at " << number.position();
  }
  EXPECT_NE(html.find("not finite"), std::string::npos);
}

TEST(Report, MarkdownFitsACommentAndSaysWhatItLeftOut) {
  ReportInput input = SampleReport();
  for (int i = 0; i < 500; ++i) input.plan->protected_units.push_back(input.plan->protected_units[0]);
  for (int i = 0; i < 500; ++i) input.provenance.emplace_back("file", std::string(120, 'x'));
  const std::string markdown = RenderMarkdown(BuildReport(input));
  EXPECT_LE(markdown.size(), 65536u);
  EXPECT_NE(markdown.find("464 more in report.json."), std::string::npos);  // 504 units, 40 shown
  EXPECT_NE(markdown.find("1 sections that are too long for a comment are in report.html."), std::string::npos);
  EXPECT_EQ(markdown.back(), '\n');
}

TEST(TerminalTable, FitsAHundredColumnsHoweverManyCorpora) {
  ReportInput input = SampleReport();
  for (int i = 0; i < 5; ++i)
    for (const char* model : {"dense", "pruned", "healed"})
      input.results.push_back({"p",
                               "perplexity",
                               model,
                               {{"corpus", "a corpus with a name that does not end " + std::to_string(i)}},
                               {{"perplexity", 20.5, "", 10, 20.25, 20.75, ""}}});
  EXPECT_LE(LongestLine(RenderTerminalTable(BuildReport(input))), 100u);
}

TEST(Report, ComparesPhenomenaOfAllModelsInOneTable) {
  // Written by hand: the dense model has heads of both classes and steps in halves of two kinds, the pruned one lost a
  // step.
  ReportInput input;
  Phenomena dense;
  dense.model = "dense";
  dense.blocks.resize(29);
  dense.blocks[0].heads.resize(4);
  dense.blocks[0].heads[1].head_class = dense.blocks[0].heads[2].head_class = HeadClass::kNoOp;
  dense.blocks[0].heads[3].head_class = HeadClass::kBroadcast;
  dense.step_up = {{11, false}};
  dense.step_down = {{11, false}, {28, true}};
  Phenomena pruned = dense;
  pruned.model = "pruned";
  pruned.step_up.clear();
  pruned.blocks[0].heads.pop_back();
  input.phenomena = {dense, pruned};
  const std::string markdown = RenderMarkdown(BuildReport(input));
  EXPECT_NE(markdown.find("| figure | dense | pruned |\n"), std::string::npos);
  EXPECT_NE(markdown.find("| step-up blocks | 11 | none |\n| step-down blocks | 11, 28a | 11, 28a |\n"),
            std::string::npos);
  EXPECT_NE(markdown.find("| heads | 4 | 3 |\n| sink heads, no-op | 2 | 2 |\n| sink heads, broadcast | 1 | 0 |\n"),
            std::string::npos);
}

}  // namespace
}  // namespace espalier
