#include "espalier/recipe/run.h"

#include <fmt/format.h>

#include <algorithm>

#include "espalier/comm/share.h"
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
    CheckPruning(state_.recipe());
    CheckGates(state_.recipe());
    const std::vector<std::string> leaks = CheckLeaks(state_);
    RunOutcome unfinished;
    unfinished.folder = state_.folder();

    const std::string dense_key = "dense";
    const std::string analyze_key = AnalyzeStage(state_, "dense", dense_key);
    if (Ends("analyze")) return unfinished;
    const std::string prune_key = Prune(analyze_key);
    if (prune_key.empty() || Ends("prune")) return unfinished;
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
    RunOutcome outcome = unfinished;
    OnLeader(state_.comm(), [&] { outcome = ReportStage(state_, names, leaks); });
    if (!Ends("report")) ExportStage(state_, models.back().first, models.back().second);
    return outcome;
  }

 private:
  // Step by step. Empty when `until` ends the run before.
  std::string Prune(const std::string& analyze_key) {
    const int64_t steps = state_.recipe().Entry("prune.schedule").options.Int("steps");
    std::vector<std::string> plan_keys;
    std::string prune_key;
    for (PruneStep step{1, steps}; step.number <= steps; ++step.number) {
      const std::string calibrate_key = NeedsStatistics(state_.recipe()) ? CalibrateStage(state_, step, prune_key) : "";
      if (Ends("calibrate")) return "";
      plan_keys.push_back(PlanStage(state_, step, analyze_key, calibrate_key, prune_key));
      if (step.Last() && steps > 1) ComposeStage(state_, steps, plan_keys);
      if (step.Last() && Ends("plan")) return "";
      prune_key = PruneStage(state_, step, plan_keys.back(), calibrate_key);
      if (step.number > 1) state_.ForgetModel(step.Input());
    }
    return prune_key;
  }

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
  static const std::vector<std::string> names = {"analyze", "calibrate", "plan",   "prune",
                                                 "heal",    "evaluate",  "report", "export"};
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
