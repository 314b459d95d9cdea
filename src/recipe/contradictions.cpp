// What a recipe asks for that cannot be, said before anything runs.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/evaluate/gate.h"
#include "espalier/plan/cost.h"
#include "espalier/prune/compensator.h"
#include "espalier/score/scorer.h"
#include "run_state.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

void CheckScorer(const Recipe& recipe, const std::vector<UnitKind>& kinds) {
  const RecipeEntry& score = recipe.Entry("prune.score");
  const auto scorer = Registry<Scorer>::Create(score.name, score.options);
  for (const UnitKind kind : kinds) CheckScores(*scorer, score.name, kind);
  const std::string& of = recipe.Entry("prune.budget").options.Text("of");
  if (scorer->TrainsTowardsTheBudget() && of != kBlockParameters)
    throw RecipeError(
        fmt::format("{}: {} learns which units stay when block parameters are short, and the budget is of "
                    "{}; set prune.budget.of: {}, or take another score",
                    recipe.Where(score), score.name, of, kBlockParameters));
}

// Some ways of refitting aim at the dense model's stream.
void CheckCompensation(const Recipe& recipe, const std::vector<UnitKind>& kinds) {
  if (std::find(kinds.begin(), kinds.end(), UnitKind::kResidualChannel) == kinds.end()) return;
  const RecipeEntry& entry = recipe.Entry("prune.compensate");
  const auto compensator = Registry<Compensator>::Create(entry.name, entry.options);
  const char* option = compensator->Sequential() ? "inputs: pruned"
                       : compensator->Residue()  ? "residue"
                       : compensator->Values()   ? "values"
                                                 : nullptr;
  if (option != nullptr)
    throw RecipeError(
        fmt::format("{}: {} needs a residual stream of the dense width, and prune.units names "
                    "residual_channel; leave one of the two out",
                    recipe.Where(entry), option));
}

}  // namespace

void CheckPruning(const Recipe& recipe) {
  std::vector<UnitKind> kinds;
  for (const std::string& kind : recipe.Entry("prune").options.TextList("units")) kinds.push_back(ParseUnitKind(kind));
  CheckScorer(recipe, kinds);
  CheckCompensation(recipe, kinds);
}

void CheckGates(const Recipe& recipe) {
  for (const RecipeEntry& entry : recipe.List("gates")) {
    const auto gate = Registry<Gate>::Create(entry.name, entry.options);
    if (gate->Of() == "healed" && !recipe.Has("heal"))
      throw RecipeError(
          fmt::format("{}: gate {}: of: healed, and the recipe has no heal", recipe.Where(entry), entry.name));
    std::vector<std::string> ids, figures;
    for (const RecipeEntry& evaluated : recipe.List("evaluate")) {
      const auto evaluator = Registry<Evaluator>::Create(evaluated.name, evaluated.options);
      ids.push_back(evaluator->Id());
      if (!gate->On().empty() && gate->On() != ids.back()) continue;
      const std::vector<std::string> own = evaluator->Figures(gate->Of() != "dense");
      figures.insert(figures.end(), own.begin(), own.end());
    }
    if (!gate->On().empty() && std::ranges::find(ids, gate->On()) == ids.end())
      throw RecipeError(fmt::format("{}: gate {}: on: {} is not evaluated; expected one of {}", recipe.Where(entry),
                                    entry.name, gate->On(), fmt::join(ids, ", ")));
    if (std::ranges::find(figures, gate->Metric()) == figures.end())
      throw RecipeError(fmt::format("{}: gate {}: nothing measures {} of {}{}; expected one of {}", recipe.Where(entry),
                                    entry.name, gate->Metric(), gate->Of(),
                                    gate->On().empty() ? "" : " on " + gate->On(), fmt::join(figures, ", ")));
  }
}

std::vector<std::string> CheckLeaks(RunState& state) {
  const Recipe& recipe = state.recipe();
  std::vector<std::pair<std::string, const Corpus*>> used = {{"data.calibration", &state.calibration_corpus()}};
  std::vector<fs::path> sources = {recipe.Entry("data.calibration").options.Text("path")};
  if (recipe.Has("heal"))
    for (const HealingText& text : state.HealingTexts()) {
      sources.push_back(text.source.path);
      if (text.corpus != nullptr)
        used.emplace_back("data.healing", text.corpus);
      else
        LogWarning("data.healing: {} has ids, not documents: whether it holds an evaluation text cannot be checked",
                   text.source.path.string());
    }
  std::vector<std::string> leaks;
  for (const RecipeEntry& entry : recipe.List("evaluate")) {
    const auto evaluator = Registry<Evaluator>::Create(entry.name, entry.options);
    for (const fs::path& file : evaluator->Files())
      for (const fs::path& source : sources)
        if (state.HashOf(file) == state.HashOf(source))
          leaks.push_back(fmt::format("{} is calibrated or healed on and also evaluated on by {} ({})", source.string(),
                                      recipe.Where(entry), file.string()));
    const auto text = evaluator->Text();
    if (!text) continue;
    const Corpus& evaluated = state.EvaluationCorpus(*text);
    const std::set<std::string> hashes(evaluated.document_hashes.begin(), evaluated.document_hashes.end());
    for (const auto& [section, corpus] : used) {
      int64_t shared = 0;
      for (const std::string& hash : corpus->document_hashes) shared += hashes.contains(hash) ? 1 : 0;
      if (shared > 0)
        leaks.push_back(fmt::format("{}: {} of {} documents are also evaluated on by {} ({})", section, shared,
                                    corpus->document_hashes.size(), recipe.Where(entry), text->path.string()));
    }
  }
  if (!leaks.empty() && !recipe.Entry("").options.Bool("allow_leak"))
    throw RecipeError(
        fmt::format("{}: {}; choose other documents, or set allow_leak: true and every report will say so",
                    recipe.path().string(), leaks.front()));
  return leaks;
}

}  // namespace espalier
