#pragma once
// Runs a recipe: stages in one direction, each with an output on disk and a key over its inputs. The same key is never
// computed twice, so a killed run goes on from its last finished stage.
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "espalier/comm/comm.h"
#include "espalier/recipe/recipe.h"
#include "espalier/report/ci.h"

namespace espalier {

// Stage names in order: analyze, calibrate, plan, prune, heal, evaluate, report, export.
const std::vector<std::string>& StageNames();

struct RunOptions {
  std::string from;      // stages from here on run again although nothing changed; empty: none
  std::string until;     // last stage that runs; empty: all
  bool dry_run = false;  // say what would run and stop
  // The processes that run the recipe together, on one file system; null: this one alone. Rank 0 writes everything that
  // stays; calibration and the evaluators that can divide their work over all.
  Comm* comm = nullptr;
};

struct RunOutcome {
  std::filesystem::path folder;
  std::optional<std::filesystem::path> report;  // report.html, when the report stage ran
  std::string table;                            // the final table, for stdout
  std::string markdown;                         // the report, for a pull request
  std::vector<JudgedCase> gates;                // each with its line in the recipe
};

// Throws Error for the user's mistakes, Interrupted when a signal came; finished stages stay.
RunOutcome RunRecipe(const Recipe& recipe, const RunOptions& options);

// What `espalier check` prints: sizes, what the budget asks for and whether it can be met, data, leaks, memory and time
// estimates; reads headers and texts, no weights.
std::string CheckRecipe(const Recipe& recipe);

}  // namespace espalier
