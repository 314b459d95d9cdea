// One recipe after another in the folder of one run: what the first has left is the second's only where it is the same.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/json.h"
#include "espalier/evaluate/evaluation.h"
#include "support/tiny_run.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::string Prune(const std::string& remove, const std::string& more = "") {
  return "prune:\n  units: ffn_channel\n  score: magnitude\n  budget: {remove: " + remove + "}\n  compensate: none\n" +
         more;
}
std::string Heal(const std::string& tokens) {
  return "heal: {method: full, tokens: " + tokens +
         ", batch: 2, length: 32, validation_windows: 2}\nallow_leak: true\n";
}
std::string Evaluated(const fs::path& text) {
  return "evaluate:\n  - {suite: perplexity, data: " + text.string() +
         ", label: text, preset: strided, window: 32, stride: 16, windows: 300}\n";
}

Json Stages(const fs::path& run) {
  return ReadJson(run / "manifest.json").at("stages");
}

// The folder of a run that may heal.
fs::path RunOn(const TinyRun& run, const std::string& settings, const std::string& until) {
  return run.Run("again", "  healing: {path: " + run.Text().string() + "}\n" + settings, until);
}

TEST(RunAgain, AStageThatBeginsToWriteAnewIsNotFinishedAnyMore) {
  const TinyRun run;
  const fs::path folder = RunOn(run, Prune("0.2") + Heal("512"), "heal");
  EXPECT_TRUE(Stages(folder).contains("heal"));
  EXPECT_THROW(RunOn(run, Prune("0.2") + Heal("32"), "heal"), RecipeError);
  EXPECT_TRUE(Stages(folder).contains("prune"));
  EXPECT_FALSE(Stages(folder).contains("heal"));
}

TEST(RunAgain, WithAnotherPrunedModelForgetsWhatWasMadeOfTheFirst) {
  const TinyRun run;
  const std::string rest = Heal("512") + Evaluated(run.Text());
  const fs::path folder = RunOn(run, Prune("0.2") + rest, "");
  EXPECT_EQ(ReadEvaluation(folder).results.front().model, "healed");
  RunOn(run, Prune("0.4") + rest, "prune");
  for (const char* stage : {"heal", "evaluate.pruned", "evaluate.healed"})
    EXPECT_FALSE(Stages(folder).contains(stage)) << stage;
  EXPECT_EQ(ReadEvaluation(folder).results.front().model, "dense");
  // Where the same model comes out, all stays.
  RunOn(run, Prune("0.4") + rest, "");
  RunOn(run, "protect: []\n" + Prune("0.4") + rest, "prune");
  EXPECT_TRUE(Stages(folder).contains("evaluate.healed"));
}

TEST(RunAgain, ContradictionsAreToldBeforeAnythingRuns) {
  const TinyRun run;
  const auto message = [&](const std::string& settings) {
    return MessageOf([&] { run.Run("none", settings, "prune"); });
  };
  EXPECT_NE(message("prune:\n  units: [residual_channel, ffn_channel]\n  score: magnitude\n"
                    "  budget: {remove: 0.2}\n  compensate: {method: least_squares, values: 0.1}\n")
                .find("values needs a residual stream of the dense width"),
            std::string::npos);
  EXPECT_NE(message("prune:\n  units: ffn_channel\n  score: learned_mask\n  budget: {of: kv_bytes, remove: 0.3}\n")
                .find("learned_mask learns which units stay when block parameters are short, and the budget is of "
                      "kv_bytes"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(run.Folder("none") / "analyze"));
}

}  // namespace
}  // namespace espalier
