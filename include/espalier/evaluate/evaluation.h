#pragma once
// All that was measured of one model: its results with the per-token losses behind them, so that two models can be
// compared token by token. Read from what a run, `espalier eval` or a stored baseline left.
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "espalier/evaluate/losses.h"
#include "espalier/evaluate/results.h"

namespace espalier {

struct Evaluation {
  std::string name;              // for tables: "pruned of runs/x", "eval/baselines/y.json"
  std::filesystem::path source;  // the file or folder that it was read from
  std::vector<Results> results;
  std::map<std::string, Losses> losses;  // by the results' ids; speeds have none

  const Results* Find(std::string_view id) const;  // nullptr: none
};

// `path` is one of
// - a folder of results (evaluate/dense of a run, what `espalier eval --out` wrote),
// - a run's folder: its last model, healed before pruned before dense,
// - a stored baseline (SaveEvaluation), or a single result, as .json.
// IoError when it is none of these, or when a file is damaged or its losses are of another length than it says.
Evaluation ReadEvaluation(const std::filesystem::path& path);

// Writes FILE.json (schema "espalier.evaluation/1", docs/schemas) and the losses beside it in FILE.safetensors, bound
// to it by their hash.
void SaveEvaluation(const Evaluation& evaluation, const std::filesystem::path& file);

}  // namespace espalier
