#include "espalier/recipe/run.h"

#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "run_state.h"

namespace espalier {
namespace {

class Runner {
 public:
  Runner(RunState& state, const RunOptions& options) : options_(options), state_(state) {}

  RunOutcome Run() {
    const bool heals = state_.recipe().Has("heal");
    CheckScorer(state_.recipe());
    const std::vector<std::string> leaks = CheckLeaks(state_);
    RunOutcome unfinished;
    unfinished.folder = state_.folder();

    const std::string dense_key = "dense";
    const std::string analyze_key = AnalyzeStage(state_, "dense", dense_key);
    if (Ends("analyze")) return unfinished;
    const std::string calibrate_key = NeedsStatistics(state_.recipe()) ? CalibrateStage(state_) : "";
    if (Ends("calibrate")) return unfinished;
    const std::string plan_key = PlanStage(state_, analyze_key, calibrate_key);
    if (Ends("plan")) return unfinished;
    const std::string prune_key = PruneStage(state_, plan_key, calibrate_key);
    if (Ends("prune")) return unfinished;
    std::vector<std::pair<std::string, std::string>> models = {{"dense", dense_key}, {"pruned", prune_key}};
    if (heals) models.emplace_back("healed", HealStage(state_, prune_key));
    if (Ends("heal")) return unfinished;
    std::vector<std::string> names;
    std::string dense_evaluated;
    for (const auto& [name, key] : models) {
      const std::string evaluated = EvaluateStage(state_, name, key, dense_evaluated);
      if (name == "dense")
        dense_evaluated = evaluated;
      else
        AnalyzeStage(state_, name, key);
      names.push_back(name);
    }
    if (Ends("evaluate") || options_.dry_run) return unfinished;
    return ReportStage(state_, names, leaks);
  }

 private:
  bool Ends(const std::string& stage) const { return options_.until == stage; }

  const RunOptions& options_;
  RunState& state_;
};

void CheckStageName(const std::string& name, const char* option) {
  const auto& known = StageNames();
  if (!name.empty() && std::find(known.begin(), known.end(), name) == known.end())
    throw RecipeError(std::string(option) + ": " + UnknownName("stage", name, known));
}

}  // namespace

const std::vector<std::string>& StageNames() {
  static const std::vector<std::string> names = {"analyze", "calibrate", "plan", "prune", "heal", "evaluate", "report"};
  return names;
}

RunOutcome RunStages(RunState& state, const RunOptions& options) {
  return Runner(state, options).Run();
}

RunOutcome RunRecipe(const Recipe& recipe, const RunOptions& options) {
  CheckStageName(options.from, "--from");
  CheckStageName(options.until, "--until");
  if (recipe.Has("sweep"))
    throw RecipeError(fmt::format("{0}: the recipe has a sweep (or `protect: compare`): use espalier sweep {0}",
                                  recipe.path().string()));
  RunState state(recipe, options);
  return RunStages(state, options);
}

}  // namespace espalier
