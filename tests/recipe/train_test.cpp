// Whole trainings of models of a few thousand parameters.
#include "espalier/recipe/train.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "espalier/analyze/phenomena.h"
#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/core/log.h"
#include "espalier/core/random.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "espalier/report/training.h"
#include "support/command.h"
#include "support/json_schema.h"
#include "support/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using Texts = std::vector<std::string>;

std::string SomeText() {
  std::string text;
  for (uint64_t i = 0; text.size() < 20000; ++i)
    text += fmt::format("{} and {} of it. ", RandomBelow(90, 1, 0, i), "aeiou"[RandomBelow(5, 1, 1, i)]);
  return text;
}

class Training : public testing::Test {
 protected:
  Training() { WriteFile(folder_ / "text.txt", SomeText()); }

  Recipe Read(const std::string& more, const std::string& name = "run", const Texts& overrides = {}) const {
    WriteFile(folder_ / (name + ".yaml"),
              fmt::format("name: {}\nruns: {}\nthreads: 1\ndata: {{task: text, path: {}}}\n"
                          "model: {{layers: 2, width: 16, heads: 2, head_width: 8, ffn_width: 24}}\n"
                          "train: {{tokens: 4096, batch: 8, length: 32, learning_rate: 0.01, validation_windows: 4, "
                          "validations: 2}}\nanalyze: {{sink_length: 16, scan: false}}\n{}",
                          name, folder_.path().string(), (folder_ / "text.txt").string(), more));
    return Recipe::Read(folder_ / (name + ".yaml"), overrides, TrainSchema());
  }
  TrainingReport Run(const std::string& more, const std::string& name = "run") const {
    const Recipe recipe = Read(more, name);
    RunTraining(recipe, {});
    const Json json = ReadJson(folder_ / name / "training.json");
    EXPECT_EQ(SchemaCheck::Problems(json, "training-1"), Texts{});
    return TrainingFromJson(json, "training.json");
  }
  std::string Mistake(const std::string& more) const {
    return MessageOf([&] { RunTraining(Read(more), {}); });
  }

  TempFolder folder_;
};

std::string WithoutTimes(const TrainingReport& report) {
  TrainingReport timeless = report;
  timeless.name.clear(), timeless.provenance.clear();
  for (TrainingCell& cell : timeless.cells)
    if (cell.run) cell.run->seconds = 0;
  return DumpJson(TrainingToJson(timeless));
}

TEST_F(Training, LearnsWithEveryNormFeedForwardAndPlaceOfTheGate) {
  const TrainingReport report =
      Run("variants:\n"
          "  - {name: pre}\n"
          "  - {name: post, set: [model.norm_placement=post]}\n"
          "  - {name: sandwich, set: [model.norm_placement=sandwich]}\n"
          "  - {name: olmo, set: [model.norm_placement=output, model.qk_norm=all_heads]}\n"
          "  - {name: dyt, set: [model.norm=dynamic_tanh]}\n"
          "  - {name: gelu, set: [model.ffn=plain, model.activation=gelu_tanh]}\n"
          "  - {name: linear, set: [model.ffn=linear, model.ffn_width=16]}\n"
          "  - {name: attention-only, set: [model.ffn_width=0]}\n"
          "  - {name: heads, set: [model.heads=4, model.head_width=4, model.kv_heads=2]}\n"
          "  - {name: positions, set: [train.first_position=9, train.last_position=24]}\n"
          "  - {name: g1, set: [model.gate=elementwise]}\n"
          "  - {name: g2, set: [model.gate=headwise, model.gate_place=g2, model.gate_signal=token]}\n"
          "  - {name: g3, set: [model.gate=single, model.gate_place=g3, model.gate_signal=position]}\n"
          "  - {name: g4, set: [model.gate=elementwise, model.gate_place=g4, model.gate_function=ns_sigmoid]}\n"
          "  - {name: g5, set: [model.gate=elementwise, model.gate_place=g5, model.gate_apply=add]}\n"
          "  - {name: constant, set: [model.gate=headwise, model.gate_signal=none]}\n"
          "  - {name: softpick, set: [model.attention_weights=softpick]}\n"
          "  - {name: softmax1, set: [model.attention_weights=softmax1]}\n"
          "  - {name: clipped, set: [model.attention_weights=clipped]}\n"
          "  - {name: sinks, set: [model.sink_logits=true, model.kv_bias=true]}\n"
          "  - {name: rms-heads, set: [model.head_transform=rms_norm]}\n");
  ASSERT_EQ(report.cells.size(), 21u);
  for (const TrainingCell& cell : report.cells) {
    SCOPED_TRACE(cell.variant + " " + cell.error);
    ASSERT_EQ(cell.state, TrainingState::kFinished);
    EXPECT_LT(cell.run->loss, cell.run->initial_loss - 0.3);
    EXPECT_NEAR(cell.run->initial_loss, std::log(256.0), 0.2);  // an untrained model knows nothing
    const bool gated = cell.variant[0] == 'g' && cell.variant != "gelu" && cell.variant != "g5";
    EXPECT_EQ(std::isfinite(cell.run->gate),
              gated || cell.variant == "constant" || cell.variant == "softmax1" || cell.variant == "sinks");
    // What was saved is what was measured, and is opened as any checkpoint.
    const fs::path folder = folder_ / "run" / cell.folder;
    const Model model = LoadModel(folder / "model", at::kFloat, at::kCPU);
    EXPECT_TRUE(Logits(model, at::tensor({1, 2, 3}, at::kLong).view({1, 3})).isfinite().all().item<bool>());
    EXPECT_EQ(Tokenizer::Open(folder / "model")->vocabulary_size(), 256);
    EXPECT_EQ(PhenomenaFromJson(ReadJson(folder / "phenomena.json"), "p").sink_rate, cell.run->sink_rate);
  }
}

TEST_F(Training, GivesTheSameTableForTheSameSeedAndAnotherForAnother) {
  const std::string more = "seeds: [3, 4]\nvariants: [{name: a}, {name: b, set: [model.gate=headwise]}]\n";
  const TrainingReport first = Run(more, "first"), second = Run(more, "second");
  EXPECT_EQ(WithoutTimes(first), WithoutTimes(second));
  EXPECT_NE(first.cells[0].run->loss, first.cells[2].run->loss);  // a with seed 3, and with 4
}

TEST_F(Training, NeverTrainsAFinishedModelAgain) {
  const std::string more = "variants: [{name: a}, {name: b, set: [model.gate=headwise]}]\n";
  const std::string before = WithoutTimes(Run(more));
  const fs::path done = folder_ / "run/cells/a-seed0", again = folder_ / "run/cells/b-seed0";
  const auto written = fs::last_write_time(done / "model/model.safetensors");
  fs::remove(again / "cell.json");
  fs::remove_all(again / "model");
  EXPECT_EQ(WithoutTimes(Run(more)), before);
  EXPECT_EQ(fs::last_write_time(done / "model/model.safetensors"), written);
  EXPECT_TRUE(fs::exists(again / "model"));
  // Another setting is another model.
  RunTraining(Read(more, "run", {"train.learning_rate=0.02"}), {});
  EXPECT_NE(fs::last_write_time(done / "model/model.safetensors"), written);
}

TEST_F(Training, GoesOnWhereItWasKilledAndEndsTheSame) {
  const Texts longer = {"train.tokens=65536", "train.save_seconds=0"};
  RunTraining(Read("", "whole", longer), {});
  Read("", "broken");  // writes the recipe
  const fs::path cell = folder_ / "broken/cells/recipe-seed0", state = cell / "state.safetensors";
  const Texts command = {"train", (folder_ / "broken.yaml").string(), longer[0], longer[1]};
  ASSERT_TRUE(RunAndKillWhen(command, [&] { return fs::exists(state); }));
  EXPECT_FALSE(fs::exists(cell / "cell.json"));
  RunTraining(Read("", "broken", longer), {});
  const auto report = [&](const std::string& name) {
    return WithoutTimes(TrainingFromJson(ReadJson(folder_ / name / "training.json"), "training.json"));
  };
  EXPECT_EQ(report("broken"), report("whole"));
  EXPECT_EQ(ReadFile(cell / "model/model.safetensors", 1 << 20),
            ReadFile(folder_ / "whole/cells/recipe-seed0/model/model.safetensors", 1 << 20));
  for (const auto& file : fs::directory_iterator(cell))
    EXPECT_FALSE(file.path().filename().string().starts_with("state")) << file.path();
}

TEST_F(Training, FindsTheRateAtWhichAModelDiverges) {
  const TrainingReport report = Run("probe: {learning_rates: [0.003, 10]}\n");
  ASSERT_EQ(report.cells.size(), 2u);
  EXPECT_EQ(report.cells[0].state, TrainingState::kFinished) << report.cells[0].error;
  EXPECT_EQ(report.cells[1].state, TrainingState::kDiverged);
  EXPECT_NE(report.cells[1].error, "");
  const std::string table = ReadFile(folder_ / "run/training.md", 1 << 20);
  EXPECT_NE(table.find("| diverged | 0.003 |"), std::string::npos) << table;
}

TEST_F(Training, SaysWhatIsWrongWithARecipe) {
  EXPECT_NE(MessageOf([&] { Read("model2: {}\n"); }).find("Nearest: model"), std::string::npos);
  EXPECT_NE(MessageOf([&] { Read("variants: [{name: a, sets: []}]\n"); }).find("Nearest: set"), std::string::npos);
  EXPECT_NE(Mistake("variants: [{name: a, set: [model.gat=headwise]}]\n").find("gate"), std::string::npos);
  EXPECT_NE(Mistake("variants: [{name: a, set: [train.length=64]}]\n").find("cannot change train.length"),
            std::string::npos);
  EXPECT_NE(Mistake("variants: [{name: a}, {name: a}]\n").find("two variants are named 'a'"), std::string::npos);
  EXPECT_NE(Mistake("variants: [{name: a, set: [model.gate=headwise, model.gate_place=g5]}]\n").find("no heads"),
            std::string::npos);
  EXPECT_NE(Mistake("variants: [{name: a, set: [model.head_width=7]}]\n").find("even width"), std::string::npos);
}

TEST_F(Training, OnlyListsInADryRun) {
  const TrainOutcome outcome = RunTraining(Read("seeds: [0, 1]\n"), {.dry_run = true});
  EXPECT_NE(outcome.table.find("2 cells, 0 finished, 2 to do"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder_ / "run/training.json"));
}

TEST(ShippedTrainingRecipes, AreReadAndHaveTheirVariants) {
  const TempFolder folder;
  for (const char* name : {"bigram-backcopy", "byte-lm", "stability"}) {
    const fs::path root = ESPALIER_SOURCE_DIR;
    const Recipe bare = Recipe::Read(root / fmt::format("recipes/train/{}.yaml", name), {}, TrainSchema());
    const Recipe recipe = bare.With({"data.path=" + (root / bare.Entry("data").options.Text("path")).string(),
                                     "runs=" + folder.path().string(), "train.tokens=4096"});
    EXPECT_NE(RunTraining(recipe, {.dry_run = true}).table.find("none-seed0"), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace espalier
