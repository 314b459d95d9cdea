// The command on SmolLM2-135M: the whole pipeline at a size that takes about a minute, and every mistake a user can
// make.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "espalier/core/files.h"
#include "espalier/core/hash.h"
#include "espalier/core/json.h"
#include "support/command.h"
#include "support/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// The starter recipe, made small.
std::vector<std::string> SmallRun(const fs::path& runs, const std::string& name, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"run",
                                        "recipes/smollm2-135m/starter.yaml",
                                        "runs=" + runs.string(),
                                        "name=" + name,
                                        "data.calibration.sequences=4",
                                        "data.calibration.length=256",
                                        "analyze.tokens=512",
                                        "heal.tokens=2048",
                                        "heal.length=128",
                                        "heal.batch=4",
                                        "heal.validation_windows=2",
                                        "evaluate.0.windows=1",
                                        "evaluate.1.windows=1",
                                        "evaluate.2.length=64",
                                        "evaluate.2.repeats=1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

class EndToEnd : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(ModelPath())) GTEST_SKIP() << "no model; scripts/setup fetches it";
  }
  TempFolder folder_;
};

TEST_F(EndToEnd, ARunPrunesHealsEvaluatesReportsAndIsReusedByTheNext) {
  const Outcome first = RunCommand(SmallRun(folder_.path(), "small"));
  ASSERT_EQ(first.code, 0) << first.err;
  const fs::path run = folder_ / "small";
  for (const char* file :
       {"recipe.yaml", "manifest.json", "plan.json", "analyze/dense.json", "analyze/pruned.json", "analyze/healed.json",
        "calibrate/statistics.safetensors", "pruned/model.safetensors", "pruned/config.json", "pruned/tokenizer.json",
        "healed/model.safetensors", "evaluate/healed/perplexity-c4.json",
        "evaluate/dense/perplexity-wikitext-2.losses.safetensors", "report.json", "report.md", "report.html",
        "log.jsonl"})
    EXPECT_TRUE(fs::exists(run / file)) << file;
  EXPECT_NE(first.out.find("pruned"), std::string::npos);
  EXPECT_NE(first.out.find("report.html"), std::string::npos);

  const Json plan = ReadJson(run / "plan.json");
  EXPECT_NEAR(plan.at("budget").at("achieved_share").get<double>(), 0.2, 1728.0 / 106202880);  // within one FFN channel
  EXPECT_LE(plan.at("budget").at("achieved_share").get<double>(), 0.2);
  const Json heal = ReadJson(run / "heal.json");
  EXPECT_LT(heal.at("validation_loss").back().get<double>(), heal.at("validation_loss").front().get<double>());
  EXPECT_LT(ReadJson(run / "manifest.json").at("stages").at("prune").at("facts").at("mask_equals_cut").get<double>(),
            1e-4);

  const std::string healed = HashFile(run / "healed/model.safetensors");
  const Outcome second = RunCommand(SmallRun(folder_.path(), "small"));
  ASSERT_EQ(second.code, 0) << second.err;
  for (const char* stage :
       {"analyze.dense", "calibrate", "plan", "prune", "heal", "evaluate.dense", "evaluate.pruned", "evaluate.healed"})
    EXPECT_NE(second.err.find(fmt::format("{:<20} reused", stage)), std::string::npos) << stage << "\n" << second.err;
  EXPECT_EQ(HashFile(run / "healed/model.safetensors"), healed);
  EXPECT_EQ(second.out, first.out);

  // Another budget plans again and calibrates no more.
  const Outcome dry = RunCommand(SmallRun(folder_.path(), "small", {"prune.budget.remove=0.3", "--dry-run"}));
  EXPECT_NE(dry.err.find(fmt::format("{:<20} finished", "calibrate")), std::string::npos) << dry.err;
  EXPECT_NE(dry.err.find(fmt::format("{:<20} would run", "plan")), std::string::npos) << dry.err;

  // The resolved recipe repeats the run.
  const Outcome repeated = RunCommand({"run", (run / "recipe.yaml").string(), "--dry-run"});
  EXPECT_EQ(repeated.err.find("would run"), std::string::npos) << repeated.err;

  // What was written is a checkpoint like any other.
  const Outcome evaluated = RunCommand({"eval", (run / "pruned").string(), "data=eval/data/wikitext-2/wiki.test.raw",
                                        "windows=1", "--out", (folder_ / "eval").string(), "-q"});
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  const auto perplexity = [](const fs::path& file) {
    return ReadJson(file).at("metrics").at(0).at("value").get<double>();
  };
  EXPECT_DOUBLE_EQ(perplexity(folder_ / "eval/perplexity-wiki.test.json"),
                   perplexity(run / "evaluate/pruned/perplexity-wikitext-2.json"));
}

TEST_F(EndToEnd, ABudgetOfManyKindsIsCutSavedAndAnalysedLikeAnyOther) {
  const Outcome run =
      RunCommand(SmallRun(folder_.path(), "mixed",
                          {"prune.units=[query_head,value_channel,qk_pair,ffn_channel,ffn,residual_channel]",
                           "prune.score=magnitude", "prune.compensate=none", "heal=none", "--until", "prune", "-q"}));
  ASSERT_EQ(run.code, 0) << run.err;
  const fs::path pruned = folder_ / "mixed/pruned";
  const Json plan = ReadJson(folder_ / "mixed/plan.json"), config = ReadJson(pruned / "config.json");
  EXPECT_LE(plan.at("budget").at("achieved_share").get<double>(), 0.2);
  EXPECT_NEAR(plan.at("budget").at("achieved_share").get<double>(), 0.2, 1e-5);  // the smallest unit is 2e-5 of it
  EXPECT_EQ(plan.at("residual_channels").at("kept"), config.at("hidden_size"));
  EXPECT_TRUE(config.contains("per_layer_config"));
  const Outcome analyzed = RunCommand({"analyze", pruned.string(), "--tokens", "256", "--length", "256", "scan=false",
                                       "--out", (folder_ / "analysis").string(), "-q"});
  EXPECT_EQ(analyzed.code, 0) << analyzed.err;
}

TEST_F(EndToEnd, ARunKilledWhileHealingGoesOnToTheSameBytes) {
  const std::vector<std::string> until = {"--until", "heal", "-q", "heal.save_seconds=0"};
  ASSERT_EQ(RunCommand(SmallRun(folder_.path(), "whole", until)).code, 0);
  const fs::path killed = folder_ / "killed";
  const auto has_checkpoint = [&] {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(killed, ignored))
      if (entry.path().filename().string().starts_with("heal-")) return true;
    return false;
  };
  ASSERT_TRUE(RunAndKillWhen(SmallRun(folder_.path(), "killed", until), has_checkpoint))
      << "the run ended before it could be killed";
  EXPECT_FALSE(fs::exists(killed / "healed"));
  ASSERT_EQ(RunCommand(SmallRun(folder_.path(), "killed", until)).code, 0);
  EXPECT_NE(ReadFile(killed / "log.jsonl").find("heal: goes on at step"), std::string::npos);
  EXPECT_EQ(HashFile(killed / "healed/model.safetensors"), HashFile(folder_ / "whole/healed/model.safetensors"));
}

// A mistake costs one line on stderr that says what and where, exit code 2, and nothing on stdout.
void ExpectMistake(const std::vector<std::string>& arguments, const std::string& says) {
  const Outcome outcome = RunCommand(arguments);
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err << "\nexpected: " << says;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_EQ(outcome.out, "");
}

TEST_F(EndToEnd, MistakesInFilesAndRecipesAreOneLineEach) {
  const auto small = [&](std::vector<std::string> more) {
    more.push_back("-q");
    return SmallRun(folder_.path(), "bad", std::move(more));
  };
  ExpectMistake({"run", "recipes/none.yaml", "-q"}, "recipes/none.yaml");
  ExpectMistake({"rum"}, "unknown command 'rum'. Nearest: run");
  ExpectMistake({"run", "recipes/smollm2-135m/starter.yaml", "--untill", "plan"}, "Nearest: --until");
  ExpectMistake(small({"--until", "plans"}), "unknown stage 'plans'. Nearest: plan");
  ExpectMistake(small({"model.path=models/none.gguf"}), "models/none.gguf");
  ExpectMistake(small({"prune.budget.remove=0.95"}), "at most 0.9");
  ExpectMistake(small({"prune.units=[residual_channel]"}), "has no score for residual_channel; use magnitude, random");
  ExpectMistake(small({"data.calibration.sequences=100000"}), "expected at least 25,600,000");
  ExpectMistake(small({"data.calibration.path=eval/data/wikitext-2/wiki.test.raw", "data.calibration.last_document=1"}),
                "also evaluated on");
  ExpectMistake(small({"device=cuda:7"}), "cuda:7");
  ExpectMistake(small({"data.healing.first_document=900", "data.healing.last_document=2000"}), "1000");
  const fs::path truncated = folder_ / "truncated.gguf";
  WriteFile(truncated, ReadFile(ModelPath()).substr(0, 20'000'000));
  ExpectMistake(small({"model.path=" + truncated.string()}), "truncated.gguf");
  const Outcome gathered = RunCommand(small({"prune.budget.remov=0.3", "heal.rank=many"}));
  EXPECT_EQ(gathered.code, 2);
  EXPECT_NE(gathered.err.find("Nearest: remove"), std::string::npos) << gathered.err;
  EXPECT_NE(gathered.err.find("2 errors; nothing was run."), std::string::npos) << gathered.err;
}

TEST_F(EndToEnd, AnalysisWritesPhenomenaAndAPageAndComparesTwoModels) {
  const fs::path out = folder_ / "analysis";
  const std::vector<std::string> arguments = {"analyze", ModelPath().string(), "--tokens", "512",
                                              "--out",   out.string(),         "-q"};
  const Outcome alone = RunCommand(arguments);
  ASSERT_EQ(alone.code, 0) << alone.err;
  EXPECT_NE(alone.out.find("(11, 1229)        step-up"), std::string::npos) << alone.out;
  EXPECT_NE(alone.out.find("report: " + (out / "analysis.html").string()), std::string::npos);
  const Json json = ReadJson(out / "SmolLM2-135M-Instruct.Q4_1.json");
  EXPECT_EQ(json.at("schema"), "espalier.phenomena/2");
  EXPECT_EQ(json.at("spike_channels").at(0), 507);
  for (const char* fetched : {"src=\"", "<link", "url("})  // the page needs nothing but itself
    EXPECT_EQ(ReadFile(out / "analysis.html").find(fetched), std::string::npos) << fetched;

  std::vector<std::string> twice = arguments;
  twice.insert(twice.begin() + 2, ModelPath().string());
  twice.push_back("scan=false");
  const Outcome same = RunCommand(twice);
  EXPECT_EQ(same.code, 0) << same.out << same.err;  // no flag between a model and itself
  EXPECT_TRUE(fs::exists(out / "SmolLM2-135M-Instruct.Q4_1 (2).json"));
}

TEST_F(EndToEnd, AnInterventionShowsWhatANeuronIsFor) {
  const Outcome outcome =
      RunCommand({"intervene", ModelPath().string(), "--do", "neuron:11.1229+11.1487", "--do", "control:11x10",
                  "--windows", "2", "--window", "256", "--tokens", "512", "--out", folder_.path().string(), "-q"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json rows = ReadJson(folder_ / "ablation.json").at("rows");
  ASSERT_EQ(rows.size(), 3u);
  const auto perplexity = [&](size_t row) { return rows[row].at("perplexity").at(0).get<double>(); };
  EXPECT_GT(perplexity(1), 1.5 * perplexity(0)) << outcome.out;        // the two producers hold the model up
  EXPECT_NEAR(perplexity(2) / perplexity(0), 1, 0.02) << outcome.out;  // ten others do not
  EXPECT_NE(outcome.out.find("step_up_lost"), std::string::npos) << outcome.out;
  EXPECT_NE(ReadFile(folder_ / "1.html").find("The step-up in block 11"), std::string::npos);
}

TEST_F(EndToEnd, MistakesInAnalysesAreOneLineEach) {
  const std::string model = ModelPath().string();
  ExpectMistake({"analyze", "-q"}, "0 models; expected one, or two to compare");
  ExpectMistake({"analyze", model, "spike_ration=3", "-q"}, "Nearest: spike_ratio");
  ExpectMistake({"analyze", model, "--tokens", "100", "-q"}, "expected at least one window of 64");
  ExpectMistake({"intervene", model, "--do", "neuron:11", "-q"}, "intervention 'neuron:11': expected one of");
  ExpectMistake({"intervene", model, "--text", "eval/data/c4/c4-sample.jsonl@9-2", "-q"},
                "expected PATH or PATH@FIRST-LAST");
  const fs::path other = folder_ / "other";
  fs::create_directories(other);
  WriteFile(other / "config.json", R"({"model_type": "mamba2"})");
  WriteFile(other / "model.safetensors",
            ReadFile(fs::path(ESPALIER_SOURCE_DIR) / "tests/model/fixtures/tiny-llama/model.safetensors"));
  ExpectMistake({"analyze", other.string(), "-q"},
                "model_type 'mamba2' is not supported; supported: espalier, gemma3_text, llama, mistral, olmo2, qwen2, "
                "qwen3, qwen3_next");
}

TEST_F(EndToEnd, ASecondRunOnTheSameFolderIsRefused) {
  const FileLock lock(folder_ / "busy/.lock");
  ExpectMistake(SmallRun(folder_.path(), "busy", {"-q"}), "another run (process");
}

TEST_F(EndToEnd, AFullDiskLeavesNothingHalfWrittenAndTheRerunGoesOn) {
  const fs::path disk = folder_ / "disk";
  fs::create_directories(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=16m") != 0)
    GTEST_SKIP() << "needs the right to mount a small file system";
  const auto run = SmallRun(disk, "full", {"--until", "calibrate", "-q"});
  const Outcome outcome = RunCommand(run);
  int leftovers = 0;
  for (const auto& entry : fs::recursive_directory_iterator(disk))
    leftovers += entry.path().filename().string().find(".tmp-") != std::string::npos;
  const bool analyzed = fs::exists(disk / "full/analyze/dense.json");
  ::umount2(disk.c_str(), MNT_DETACH);
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_NE(outcome.err.find("No space left on device"), std::string::npos) << outcome.err;
  EXPECT_EQ(leftovers, 0);
  EXPECT_TRUE(analyzed);
}

}  // namespace
}  // namespace espalier
