// Sweeps of a model of 40 thousand parameters, through all stages.
#include "espalier/recipe/sweep.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/core/random.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/load.h"
#include "espalier/protect/rule.h"
#include "espalier/recipe/run.h"
#include "espalier/recipe/schema.h"
#include "espalier/report/sweep.h"
#include "espalier/score/scorer.h"
#include "support/json_schema.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using Texts = std::vector<std::string>;

const fs::path kTokenizer = fs::path(ESPALIER_SOURCE_DIR) / "tests/io/fixtures/tokenizer/gpt-2";

// Words of random letters; another seed, another text.
std::string RandomText(uint64_t seed, size_t letters) {
  std::string text;
  for (uint64_t i = 0; text.size() < letters; ++i) {
    const uint64_t letter = RandomBelow(30, seed, 0, i);
    text += letter < 26 ? static_cast<char>('a' + letter) : ' ';
  }
  return text;
}

class Sweep : public testing::Test {
 protected:
  Sweep() {
    const auto tokenizer = Tokenizer::Open(kTokenizer);
    TinyShape shape = EvenShape(2);
    shape.V = tokenizer->vocabulary_size();
    SaveModel(TinyModel(1, shape), *tokenizer, folder_ / "model");
    std::string documents;
    for (uint64_t i = 0; i < 20; ++i) documents += Json{{"text", RandomText(i, 400)}}.dump() + "\n";
    WriteFile(folder_ / "calibration.jsonl", documents);
    WriteFile(folder_ / "evaluation.txt", RandomText(100, 2000));
    WriteFile(folder_ / "second.txt", RandomText(101, 2000));
  }

  // A recipe of the tiny model with `more` at its end.
  fs::path Write(const std::string& more, const std::string& protect = "protect: []\n") const {
    const std::string text = fmt::format(
        "name: sweep\nruns: {0}/runs\nthreads: 1\nmodel: {{path: {0}/model}}\n"
        "data: {{calibration: {{path: {0}/calibration.jsonl, sequences: 4, length: 64}}}}\n"
        "analyze: {{tokens: 64}}\n{1}"
        "prune:\n  units: [ffn_channel]\n  score: wifv\n  budget: {{remove: 0.1}}\n  compensate: none\n"
        "evaluate:\n"
        "  - {{suite: perplexity, preset: strided, window: 128, stride: 96, data: {0}/evaluation.txt, label: one}}\n"
        "  - {{suite: perplexity, preset: strided, window: 128, stride: 96, data: {0}/second.txt, label: two}}\n{2}",
        folder_.path().string(), protect, more);
    WriteFile(folder_ / "recipe.yaml", text);
    return folder_ / "recipe.yaml";
  }
  Recipe Read(const std::string& more, const std::vector<std::string>& overrides = {}) const {
    return Recipe::Read(Write(more), overrides, RunSchema());
  }
  fs::path Folder() const { return folder_ / "runs/sweep"; }
  fs::path Cell(const std::string& name) const { return Folder() / "cells" / name; }
  // What is wrong, without the folder's name.
  std::string Mistakes(const std::string& more) const {
    std::string message = MessageOf([&] { RunSweep(Read(more), {}); });
    const std::string prefix = folder_.path().string() + "/";
    for (size_t at = message.find(prefix); at != std::string::npos; at = message.find(prefix))
      message.erase(at, prefix.size());
    return message;
  }
  // Folders of the shared store whose names begin with `stage`.
  size_t Stored(const std::string& stage) const {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(Folder() / "shared"))
      count += entry.path().filename().string().starts_with(stage + "-") ? 1 : 0;
    return count;
  }
  SweepReport Report() const { return SweepFromJson(ReadJson(Folder() / "sweep.json"), "sweep.json"); }

  TempFolder folder_;
};

constexpr char kTwoByTwo[] =
    "sweep:\n"
    "  remove: [0.1, 0.3]\n"
    "  seeds: [0, 1]\n"
    "  variants:\n"
    "    - {name: flap, set: [\"prune.allocate.normalize=zscore\"]}\n"
    "    - {name: l1, set: [\"prune.score={method: magnitude, norm: l1}\"]}\n";

TEST_F(Sweep, RunsEveryCellAndComputesWhatTheyShareOnce) {
  const SweepOutcome outcome = RunSweep(Read(kTwoByTwo), {});
  EXPECT_EQ(outcome.cells, 8u);
  EXPECT_EQ(outcome.failed, 0u);
  // Windows are drawn by the seed, so each seed is analysed and calibrated on its own; magnitudes need no statistics.
  EXPECT_EQ(Stored("analyze.dense"), 2u);
  EXPECT_EQ(Stored("calibrate"), 2u);
  EXPECT_EQ(Stored("evaluate.dense"), 1u);  // nothing random in it
  EXPECT_EQ(Stored("plan"), 0u);            // every cell has its own
  EXPECT_FALSE(fs::exists(Cell("l1-0-0.1") / "calibrate"));
  // The same file, not a copy.
  EXPECT_TRUE(fs::equivalent(Cell("flap-0-0.1") / "calibrate/statistics.safetensors",
                             Cell("flap-0-0.3") / "calibrate/statistics.safetensors"));
  EXPECT_TRUE(fs::equivalent(Cell("flap-0-0.1") / "evaluate/dense/perplexity-one-strided.json",
                             Cell("l1-1-0.3") / "evaluate/dense/perplexity-one-strided.json"));
  for (const char* file : {"recipe.yaml", "manifest.json", "plan.json", "report.html", "cell.json"})
    EXPECT_TRUE(fs::exists(Cell("flap-1-0.3") / file)) << file;
  EXPECT_FALSE(fs::exists(Cell("flap-1-0.3") / "pruned"));  // evaluated, so no longer needed
  for (const char* file : {"sweep.json", "sweep.md", "sweep.html", "sweep-perplexity-one-strided.svg",
                           "sweep-perplexity-two-strided.svg", "recipe.yaml"})
    EXPECT_TRUE(fs::exists(Folder() / file)) << file;
}

TEST_F(Sweep, CellsThatCutTheSameShareWhatIsMeasured) {
  // Only FFN channels go, so the floor on groups changes no plan; another ratio does.
  RunSweep(Read("sweep:\n  remove: [0.1, 0.3]\n  seeds: [0]\n  variants:\n"
                "    - {name: one, set: [\"prune.allocate={method: uniform}\"]}\n"
                "    - {name: two, set: [\"prune.allocate={method: uniform, swaps: 0, min_kv_groups: 2}\"]}\n"),
           {});
  ASSERT_EQ(ReadJson(Cell("one-0-0.1") / "plan.json").at("blocks"),
            ReadJson(Cell("two-0-0.1") / "plan.json").at("blocks"));
  EXPECT_EQ(Stored("evaluate.pruned"), 2u);
  EXPECT_EQ(Stored("analyze.pruned"), 2u);
  const auto evaluated = [&](const std::string& cell) {
    return Cell(cell) / "evaluate/pruned/perplexity-one-strided.json";
  };
  EXPECT_TRUE(fs::equivalent(evaluated("one-0-0.1"), evaluated("two-0-0.1")));
  EXPECT_NE(ReadFile(evaluated("one-0-0.1")), ReadFile(evaluated("one-0-0.3")));
}

TEST_F(Sweep, CellsAreOrdinaryRuns) {
  RunSweep(Read(kTwoByTwo), {});
  const Recipe alone =
      Recipe::Read(Cell("flap-1-0.3") / "recipe.yaml", {"runs=" + (folder_ / "alone").string()}, RunSchema());
  RunRecipe(alone, {});
  const auto perplexity = [](const fs::path& run) {
    return ReadJson(run / "evaluate/pruned/perplexity-one-strided.json").at("metrics").at(0).at("value").get<double>();
  };
  EXPECT_EQ(perplexity(folder_ / "alone/flap-1-0.3"), perplexity(Cell("flap-1-0.3")));
  EXPECT_EQ(ReadFile(folder_ / "alone/flap-1-0.3/plan.json"), ReadFile(Cell("flap-1-0.3") / "plan.json"));
}

TEST_F(Sweep, GathersFiguresThatTheCellsHave) {
  RunSweep(Read(kTwoByTwo), {});
  const Json json = ReadJson(Folder() / "sweep.json");
  EXPECT_EQ(SchemaCheck::Problems(json, "sweep-1"), Texts{});
  const SweepReport report = Report();
  ASSERT_EQ(report.cells.size(), 8u);
  ASSERT_EQ(report.points.size(), 8u);  // 2 variants x 2 shares x 2 texts; seeds are together
  const Json plan = ReadJson(Cell("flap-0-0.3") / "plan.json");
  const auto cell = std::find_if(report.cells.begin(), report.cells.end(), [](const SweepCell& one) {
    return one.variant == "flap" && one.seed == 0 && one.remove == 0.3;
  });
  EXPECT_EQ(cell->run->achieved, plan.at("budget").at("achieved_share").get<double>());
  EXPECT_DOUBLE_EQ(cell->run->block_parameters, cell->run->achieved);
  EXPECT_LT(cell->run->total_parameters, cell->run->block_parameters);  // the embedding stays
  const auto channels = std::find_if(cell->run->cut.begin(), cell->run->cut.end(),
                                     [](const SweepCut& cut) { return cut.kind == "ffn_channels"; });
  EXPECT_EQ(channels->of, 48);  // two blocks of 24
  EXPECT_GT(channels->cut, 0);
  // Two seeds with perplexities p and q have the geometric mean sqrt(p q), and so have the ratios.
  const SweepPoint& point = report.points.front();
  EXPECT_EQ(point.seeds, 2);
  EXPECT_NEAR(point.perplexity, std::sqrt(point.lowest * point.highest), 1e-4 * point.perplexity);
  EXPECT_NEAR(point.ratio, point.perplexity / report.texts.front().dense, 1e-4 * point.ratio);
  EXPECT_LE(point.ratio_low, point.ratio);
  EXPECT_GE(point.ratio_high, point.ratio);
}

TEST_F(Sweep, OneSeedHasTheIntervalOfItsEvaluation) {
  RunSweep(Read("sweep: {remove: [0.2]}\n"), {});
  const SweepReport report = Report();
  ASSERT_EQ(report.points.size(), 2u);
  const SweepFigure& figure = report.cells.at(0).run->figures.at(0);
  EXPECT_DOUBLE_EQ(report.points[0].ratio, figure.ratio);
  EXPECT_DOUBLE_EQ(report.points[0].ratio_low, figure.ratio_low);
  EXPECT_DOUBLE_EQ(report.points[0].ratio_high, figure.ratio_high);
  EXPECT_NEAR(report.points[0].perplexity, figure.perplexity, 1e-6 * figure.perplexity);
}

TEST_F(Sweep, ResumesAfterAKillWithoutComputingFinishedCellsAgain) {
  RunSweep(Read(kTwoByTwo), {});
  const std::string before = ReadFile(Folder() / "sweep.json");
  const auto kept = fs::last_write_time(Cell("flap-0-0.1") / "report.json");
  // As if killed in the last cell after its plan, and before the report of the sweep.
  const fs::path killed = Cell("l1-1-0.3");
  fs::remove(killed / "cell.json");
  fs::remove_all(killed / "evaluate");
  fs::remove(Folder() / "sweep.json");
  WriteFile(Folder() / "shared/.plan-0.tmp-1/stage.json", "{");
  const SweepOutcome again = RunSweep(Read(kTwoByTwo), {});
  EXPECT_EQ(again.failed, 0u);
  EXPECT_EQ(fs::last_write_time(Cell("flap-0-0.1") / "report.json"), kept);
  EXPECT_NE(ReadFile(Folder() / "log.jsonl").find("7 of 8 cells are finished already"), std::string::npos);
  // All figures but the times are what they were.
  SweepReport first = SweepFromJson(ParseJson(before, "before"), "before"), second = Report();
  for (SweepReport* report : {&first, &second}) {
    report->cells.back().run->plan_seconds = report->cells.back().run->prune_seconds = 0;
    report->cells.back().run->peak_memory_bytes = 0;
  }
  EXPECT_EQ(DumpJson(SweepToJson(second)), DumpJson(SweepToJson(first)));
}

TEST_F(Sweep, AFileOfACellThatIsNoLongerOneIsMadeAgain) {
  const std::string more = "sweep: {remove: [0.1, 0.2]}\n";
  RunSweep(Read(more), {});
  for (const char* text : {"[]", "{\"key\": 1}", "{", ""}) {
    WriteFile(Cell("recipe-0-0.1") / "cell.json", text);
    EXPECT_EQ(RunSweep(Read(more), {}).failed, 0u) << text;
    EXPECT_EQ(Report().points.size(), 4u) << text;
    EXPECT_EQ(ReadJson(Cell("recipe-0-0.1") / "cell.json").at("schema"), "espalier.sweep-cell/1");
  }
}

TEST_F(Sweep, ADryRunListsWhatIsToDo) {
  const SweepOutcome fresh = RunSweep(Read(kTwoByTwo), {.dry_run = true});
  EXPECT_NE(fresh.table.find("   1  flap-0-0.1 "), std::string::npos) << fresh.table;
  EXPECT_NE(fresh.table.find("to do: analyze.dense, calibrate, plan, prune, evaluate.dense, evaluate.pruned, "
                             "analyze.pruned, report\n"),
            std::string::npos)
      << fresh.table;
  EXPECT_NE(fresh.table.find("   2  flap-0-0.3                                to do: plan, prune, evaluate.pruned, "
                             "analyze.pruned, report\n"),
            std::string::npos)
      << fresh.table;
  EXPECT_NE(fresh.table.find("8 cells, 0 finished, 8 to do"), std::string::npos);
  EXPECT_FALSE(fs::exists(Folder() / "sweep.json"));
  RunSweep(Read(kTwoByTwo), {});
  EXPECT_NE(RunSweep(Read(kTwoByTwo), {.dry_run = true}).table.find("8 cells, 8 finished, 0 to do"), std::string::npos);
}

TEST_F(Sweep, KeepsModelsOnRequestAlsoAfterwards) {
  RunSweep(Read("sweep: {remove: [0.2]}\n"), {});
  EXPECT_FALSE(fs::exists(Cell("recipe-0-0.2") / "pruned"));
  RunSweep(Read("sweep: {remove: [0.2]}\n"), {.keep_models = true});
  EXPECT_TRUE(fs::exists(Cell("recipe-0-0.2") / "pruned/model.safetensors"));
}

TEST_F(Sweep, ACheckpointIsPrunedOnceForVariantsThatOnlyMeasureDifferently) {
  RunSweep(Read("sweep:\n  variants:\n    - {name: both}\n    - {name: one, set: [\"evaluate=[]\", "
                "\"evaluate.0={suite: perplexity, preset: strided, window: 128, stride: 64, data: " +
                (folder_ / "evaluation.txt").string() + "}\"]}\n"),
           {});
  const auto seconds = [&](const char* cell) {
    return ReadJson(Cell(cell) / "manifest.json").at("stages").at("prune").dump();
  };
  EXPECT_EQ(seconds("both-0-0.1"), seconds("one-0-0.1"));  // the entry of one computation, to the nanosecond
  EXPECT_EQ(Stored("prune"), 0u);                          // nobody needs it any more
}

TEST_F(Sweep, ACellThatFailsIsRecordedAndTheOthersGoOn) {
  const std::string more = "sweep: {remove: [0.1, 0.97]}\n";
  const SweepOutcome outcome = RunSweep(Read(more), {});
  EXPECT_EQ(outcome.failed, 1u);
  const SweepReport report = Report();
  EXPECT_EQ(report.cells[0].state, SweepState::kFinished);
  EXPECT_EQ(report.cells[1].state, SweepState::kFailed);
  EXPECT_NE(report.cells[1].error.find("at most"), std::string::npos) << report.cells[1].error;
  EXPECT_EQ(report.cells[1].error.find('\n'), std::string::npos);
  EXPECT_NE(outcome.table.find("failed: recipe, seed 0, 97.0 %"), std::string::npos) << outcome.table;
  EXPECT_EQ(SchemaCheck::Problems(ReadJson(Folder() / "sweep.json"), "sweep-1"), Texts{});
  EXPECT_EQ(RunSweep(Read(more), {}).failed, 1u);  // tried again
}

TEST_F(Sweep, MistakesComeBeforeAnythingRunsAndNameTheVariant) {
  EXPECT_EQ(
      Mistakes("sweep:\n  variants:\n    - {name: a, set: [\"prune.score=wif\"]}\n    - {name: b, set: [\"seed=1\"]}\n"
               "    - {name: a}\n    - {name: c/d}\n    - {name: e, set: [\"sweep=none\"]}\n"),
      "recipe.yaml:20:7: sweep.variants: two variants are named 'a'\n"
      "recipe.yaml:21:7: sweep.variants: the name 'c/d' is for tables and folders: expected at most 40 letters, "
      "digits and _ + - . that do not begin with . or -\n"
      "recipe.yaml:18:7: variant a: override prune.score=wif: prune.score.method: " +
          UnknownName("scorer", "wif", Registry<Scorer>::Names()) +
          "\n"
          "recipe.yaml:19:7: variant b: it changes seed, which a variant cannot; use sweep.seeds\n"
          "recipe.yaml:22:7: variant e: 'sweep=none': a variant cannot change the sweep\n"
          "5 errors; nothing was run.");
  EXPECT_FALSE(fs::exists(Folder() / "cells"));
}

TEST_F(Sweep, RefusesListsThatAreEmptyDoubledOrTooLong) {
  EXPECT_EQ(Mistakes("sweep: {remove: [], seeds: [0, 1, 0]}\n"),
            "recipe.yaml:16:1: sweep.seeds: 0 is there twice\n"
            "recipe.yaml:16:1: sweep.remove: expected at least one value, found an empty list\n"
            "2 errors; nothing was run.");
  EXPECT_EQ(Mistakes("sweep: {remove: [0.1, 25]}\n"),
            "recipe.yaml:16:23: sweep.remove.1: [25] is not in the range 0 to below 1. For 25 percent write 0.25.\n"
            "1 error; nothing was run.");
  EXPECT_EQ(Mistakes("sweep: {variants: []}\n"),
            "recipe.yaml:16:19: sweep.variants: expected at least one entry, found an empty list.\n"
            "1 error; nothing was run.");
  std::string seeds = "0";
  for (int i = 1; i <= 500; ++i) seeds += fmt::format(", {}", i);
  EXPECT_EQ(Mistakes("sweep: {seeds: [" + seeds + "]}\n"),
            "recipe.yaml:16:1: sweep: 1 variants x 501 seeds x 1 shares are 501 cells, expected at most 500\n"
            "1 error; nothing was run.");
}

TEST_F(Sweep, AVariantThatLeaksIsFoundBeforeAnythingRuns) {
  EXPECT_NE(Mistakes("sweep:\n  variants:\n    - {name: fair}\n    - {name: leaky, set: [\"evaluate.0.data=" +
                     (folder_ / "calibration.jsonl").string() + "\"]}\n")
                .find("variant leaky: "),
            std::string::npos);
  EXPECT_FALSE(fs::exists(Folder() / "sweep.json"));
}

TEST_F(Sweep, EachOfRunAndSweepPointsToTheOther) {
  EXPECT_NE(MessageOf([&] { RunRecipe(Read("sweep: {remove: [0.1]}\n"), {}); }).find("use espalier sweep"),
            std::string::npos);
  EXPECT_NE(Mistakes("").find("use espalier run"), std::string::npos);
}

TEST_F(Sweep, TheResolvedRecipeIsTheSameSweep) {
  const Recipe recipe = Read(kTwoByTwo);
  WriteFile(folder_ / "again.yaml", recipe.ToYaml());
  EXPECT_EQ(Recipe::Read(folder_ / "again.yaml", {}, RunSchema()).ToYaml(), recipe.ToYaml());
  EXPECT_NE(recipe.ToYaml().find("    - {name: flap, set: [\"prune.allocate.normalize=zscore\"]}\n"), std::string::npos)
      << recipe.ToYaml();
}

// The ladder as docs/sweeps.md has it; a rung appears when its rule is registered.
Texts Ladder() {
  const std::vector<std::string> rules = Registry<ProtectionRule>::Names();
  const bool supernodes = std::find(rules.begin(), rules.end(), "supernodes") != rules.end();
  const std::string up = "{rule: spike_producers}", two = up + ", {rule: super_weights}";
  const std::string all = supernodes ? two + ", {rule: supernodes}" : two;
  Texts ladder = {"none",           "protect=none",         "spike_producers", "protect=[" + up + "]",
                  "+super_weights", "protect=[" + two + "]"};
  if (supernodes) ladder.insert(ladder.end(), {"+supernodes", "protect=[" + all + "]"});
  for (const char* heads : {"no_op", "broadcast", "all"}) {
    ladder.push_back(fmt::format("+{}_sinks", heads));
    ladder.push_back(fmt::format("protect=[{}, {{rule: sink_heads, heads: {}, written: 0}}]", all, heads));
  }
  return ladder;
}

TEST_F(Sweep, CompareIsTheLadderOfProtection) {
  const Recipe recipe = Recipe::Read(Write("sweep: {seeds: [0, 1]}\n", "protect: compare\n"), {}, RunSchema());
  Texts found;
  for (const RecipeEntry& entry : recipe.List("sweep.variants")) {
    found.push_back(entry.options.Text("name"));
    ASSERT_EQ(entry.options.TextList("set").size(), 1u);
    found.push_back(entry.options.TextList("set").front());
  }
  EXPECT_EQ(found, Ladder());
  EXPECT_FALSE(recipe.Has("protect"));
  EXPECT_EQ(recipe.Entry("sweep").options.IntList("seeds"), (std::vector<int64_t>{0, 1}));
}

TEST_F(Sweep, CompareNeedsNoSweepSectionAndStandsAlone) {
  EXPECT_TRUE(Recipe::Read(Write("", "protect: compare\n"), {}, RunSchema()).Has("sweep"));
  EXPECT_TRUE(Read("", {"protect=compare"}).Has("sweep"));
  EXPECT_NE(MessageOf([&] {
              Recipe::Read(Write("", "protect: [compare, keep]\n"), {}, RunSchema());
            }).find("protect: `compare` stands alone"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] { Read(kTwoByTwo, {"protect=compare"}); }).find("give it or sweep.variants, not both"),
            std::string::npos);
}

TEST_F(Sweep, ComparingProtectionCountsWhatWouldHaveBeenCut) {
  RunSweep(Recipe::Read(Write("sweep: {remove: [0.3]}\n", "protect: compare\n"), {}, RunSchema()), {});
  const SweepReport report = Report();
  EXPECT_EQ(report.cells.size(), Ladder().size() / 2);
  for (const SweepCell& cell : report.cells) {
    ASSERT_TRUE(cell.run) << cell.error;
    const Json units = ReadJson(Folder() / cell.folder / "plan.json").at("protected_units");
    EXPECT_EQ(cell.run->protected_units, static_cast<int64_t>(units.size()));
    EXPECT_LE(cell.run->protected_would_cut, cell.run->protected_units);
    EXPECT_EQ(cell.run->phenomena.at(0).sink_rate,
              ReadJson(Folder() / cell.folder / "analyze/pruned.json").at("sink_rate").get<double>());
  }
  EXPECT_EQ(report.cells.front().run->protected_units, 0);
}

}  // namespace
}  // namespace espalier
