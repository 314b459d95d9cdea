#pragma once
// `espalier train`: small models from scratch, one for each variant, seed and learning rate of a recipe, on the same
// data and measured alike. Killed at any time, the same call goes on.
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "espalier/recipe/recipe.h"

namespace espalier {

std::vector<SectionSpec> TrainSchema();

struct TrainRunOptions {
  bool dry_run = false;  // list the cells and what is still to do
};

struct TrainOutcome {
  std::filesystem::path folder;
  std::optional<std::filesystem::path> report;  // training.html, when anything is finished
  std::string table;                            // for stdout: the results, or with dry_run the cells
  size_t cells = 0, failed = 0;                 // a cell that diverged has not failed
};

// RecipeError before anything runs when a variant has a mistake. In runs/<name>: training.json, .md and .html, and in
// cells/<variant>-seed<n> the model in our own format, phenomena.json and training/metrics.jsonl. A cell that is
// finished under the same recipe, data and code is not trained again; an unfinished one goes on from its last
// checkpoint. Interrupted when a signal came.
TrainOutcome RunTraining(const Recipe& recipe, const TrainRunOptions& options);

}  // namespace espalier
