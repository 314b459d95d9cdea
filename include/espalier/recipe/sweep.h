#pragma once
// Runs every cell of a recipe's sweep: each variant with each seed and share, an ordinary run of its own, with outputs
// of the same key computed once. Killed at any time, the same call goes on.
#include <filesystem>
#include <optional>
#include <string>

#include "espalier/recipe/recipe.h"

namespace espalier {

struct SweepOptions {
  bool dry_run = false;      // list the cells and what is still to do
  bool keep_models = false;  // else a cell's pruned and healed checkpoints are deleted once it is evaluated
};

struct SweepOutcome {
  std::filesystem::path folder;
  std::optional<std::filesystem::path> report;  // sweep.html, when anything is finished
  std::string table;                            // for stdout: the results, or with dry_run the cells
  size_t cells = 0, failed = 0;
};

// RecipeError before anything runs when a cell's recipe has a mistake. A cell that fails while it runs is recorded with
// its error and tried again by the next call; the sweep goes on. Interrupted when a signal came; finished cells stay.
SweepOutcome RunSweep(const Recipe& recipe, const SweepOptions& options);

}  // namespace espalier
