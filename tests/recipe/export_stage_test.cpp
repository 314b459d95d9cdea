// `export:` of a recipe, the last stage of a run.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/core/files.h"
#include "espalier/export/verify.h"
#include "espalier/model/load.h"
#include "support/tiny_run.h"

namespace espalier {
namespace {

constexpr const char* kSettings =
    "prune:\n  score: magnitude\n  budget: {of: block_parameters, remove: 0.3}\n  compensate: none\n"
    "export: [padded, {to: gguf, type: f32}, {to: hf, shard_size: 20kB}]\n";

TEST(ExportStage, WritesEveryFormOfTheRunsLastModel) {
  const TinyRun run;
  const auto folder = run.Run("exported", kSettings, "");
  const Model pruned = LoadModel(folder / "pruned", at::kFloat, at::kCPU);
  for (const char* name : {"pruned.f32.gguf", "pruned-padded", "pruned-hf"})
    EXPECT_LT(LogitDifference(LoadModel(folder / "export" / name, at::kFloat, at::kCPU), pruned), 1e-5) << name;
  EXPECT_TRUE(std::filesystem::exists(folder / "export" / "pruned-hf" / "model.safetensors.index.json"));
  const std::string card = ReadFile(folder / "export" / "pruned-hf" / "README.md");
  for (const char* part : {"## What was removed", "`magnitude`", "## Protocol and results", "## Recipe", "remove: 0.3"})
    EXPECT_NE(card.find(part), std::string::npos) << part;
  EXPECT_NE(ReadFile(folder / "manifest.json").find("\"export\""), std::string::npos);
}

TEST(ExportStage, IsLeftOutWhenTheRecipeNamesNoForm) {
  const TinyRun run;
  const std::string settings(kSettings);
  const auto folder = run.Run("plain", settings.substr(0, settings.find("export:")), "");
  EXPECT_FALSE(std::filesystem::exists(folder / "export"));
}

}  // namespace
}  // namespace espalier
