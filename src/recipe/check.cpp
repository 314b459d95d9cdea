// What a recipe would do, from headers and texts alone.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "espalier/calibrate/windows.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/load.h"
#include "espalier/model/unit_space.h"
#include "espalier/plan/planner.h"
#include "espalier/prune/compensator.h"
#include "espalier/recipe/run.h"
#include "run_state.h"
#include "sweep_cells.h"

namespace espalier {
namespace {

// Nothing is timed for a check: every multiply-accumulate alike.
constexpr Timing kNominal{.attention = 1, .ffn = 1, .head = 1};

constexpr double kBytesPerToken = 4.6;  // of English in byte-level BPE vocabularies of 49k to 128k; for estimates only

// Floating-point operations a second of this machine: one matrix product of a size that a block has.
double MachineFlops() {
  const at::Tensor a = at::ones({512, 1024}), b = at::ones({1024, 1024});
  at::matmul(a, b);
  const auto start = std::chrono::steady_clock::now();
  int rounds = 0;
  double seconds = 0;
  for (; seconds < 0.2; ++rounds) {
    at::matmul(a, b);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return 2.0 * 512 * 1024 * 1024 * rounds / seconds;
}

// What the recipe allows to go, of the given kinds.
PlanOptions WidestPlan(const Recipe& recipe, std::vector<UnitKind> kinds) {
  const Options& allocate = recipe.Entry("prune.allocate").options;
  const RecipeEntry& compensate = recipe.Entry("prune.compensate");
  PlanOptions options;
  options.kinds = std::move(kinds);
  options.budget_of = recipe.Entry("prune.budget").options.Text("of");
  options.min_kv_groups = allocate.Int("min_kv_groups");
  options.min_ffn_channels = allocate.Int("min_ffn_channels");
  const auto compensator = Registry<Compensator>::Create(compensate.name, compensate.options);
  options.compensation_adds_bias = compensator->AddsBias();
  options.residue_adds_bias = compensator->Residue().has_value();
  options.timing = kNominal;
  return options;
}

// A line for each kind, and what all kinds together can reach: they overlap, so that is not the sum of the lines.
double DescribeReach(const Recipe& recipe, const Model& model, const Cost& dense, std::string& text) {
  const std::string& of = recipe.Entry("prune.budget").options.Text("of");
  const auto whole = static_cast<double>(Measure(dense, of));
  std::vector<UnitKind> kinds;
  for (const std::string& name : recipe.Entry("prune").options.TextList("units")) {
    kinds.push_back(ParseUnitKind(name));
    const Reach reach = ReachOf(model, WidestPlan(recipe, {kinds.back()}));
    text += fmt::format("units      {}: {} of {} may go, {:.1f} % of {}\n", name, FormatCount(reach.removable),
                        FormatCount(reach.units), 100 * static_cast<double>(reach.saving) / whole, of);
  }
  return static_cast<double>(ReachOf(model, WidestPlan(recipe, kinds)).saving) / whole;
}

int64_t TextTokens(const TextSource& source) {
  int64_t bytes = 0;
  for (const std::string& document : ReadCorpus(source).documents) bytes += static_cast<int64_t>(document.size());
  return static_cast<int64_t>(static_cast<double>(bytes) / kBytesPerToken);
}

// Forward passes in tokens, for dense-sized models; a training step costs about four (lora) of them with recomputation.
int64_t ForwardTokens(const Recipe& recipe) {
  const Options& calibration = recipe.Entry("data.calibration").options;
  const int64_t calibrated = calibration.Int("sequences") * calibration.Int("length");
  const int64_t models = recipe.Has("heal") ? 3 : 2;
  int64_t tokens = calibrated + models * std::min(calibrated, recipe.Entry("analyze").options.Int("tokens"));
  for (const RecipeEntry& entry : recipe.List("evaluate")) {
    const auto text = Registry<Evaluator>::Create(entry.name, entry.options)->Text();
    if (!text) continue;
    const auto option = [&entry](std::string_view name) {
      return entry.options.Has(name) ? entry.options.Int(name) : 0;
    };
    const int64_t window = std::max({option("window"), option("length"), int64_t{1}}), windows = option("windows");
    tokens += models * (windows > 0 ? std::min(windows * window, TextTokens(*text)) : TextTokens(*text));
  }
  return tokens + (recipe.Has("heal") ? 4 * recipe.Entry("heal").options.Int("tokens") : 0);
}

double MemoryEstimate(const Recipe& recipe, const Model& model, const Cost& dense) {
  double products = 0;
  if (NeedsFromStatistics(recipe, "products"))
    for (const BlockConfig& block : model.config.blocks)
      products += 4.0 * static_cast<double>(block.F * block.F + block.H * model.config.D * block.H * model.config.D);
  return 3 * static_cast<double>(dense.bytes) + products +
         500e6;  // dense, pruned, healed; co-moments; LibTorch and activations
}

}  // namespace

std::string CheckRecipe(const Recipe& recipe) {
  CheckPruning(recipe);
  CheckGates(recipe);
  const Model model =
      LoadShapes(recipe.Entry("model").options.Text("path"), ParseDtype(recipe.Entry("model").options.Text("dtype")));
  const Cost dense = DenseCost(model, kNominal);
  const Options& budget = recipe.Entry("prune.budget").options;
  std::string text =
      fmt::format("{}: no mistakes\n\nmodel      {}: {} blocks, {} parameters ({} in blocks), {} in {}\n",
                  recipe.path().string(), recipe.Entry("model").options.Text("path"), model.config.L(),
                  FormatCount(dense.total_parameters), FormatCount(dense.block_parameters),
                  FormatBytes(static_cast<double>(dense.bytes)), recipe.Entry("model").options.Text("dtype"));
  const double reach = DescribeReach(recipe, model, dense, text);
  const double remove = budget.Real("remove");
  if (remove > reach)
    throw RecipeError(
        fmt::format("{}: prune.budget.remove: {} of {} asked for, at most {:.4f} can go; ask for less, allow more unit "
                    "kinds, or lower the minimums",
                    recipe.Where(recipe.Entry("prune.budget")), remove, budget.Text("of"), reach));
  if (budget.Text("of") == kTimeMeasure)
    text += fmt::format("budget     remove {:.1f} % of the time of a prefill, which is measured when it is planned\n",
                        100 * remove);
  else
    text += fmt::format(
        "budget     remove {:.1f} % of {}: {} -> {}\n", 100 * remove, budget.Text("of"),
        FormatCount(Measure(dense, budget.Text("of"))),
        FormatCount(static_cast<int64_t>((1 - remove) * static_cast<double>(Measure(dense, budget.Text("of"))))));
  RunState state(recipe, {.from = "", .until = "", .dry_run = true});
  for (const std::string& leak : CheckLeaks(state)) text += "leak       allowed: " + leak + "\n";
  const Options& calibration = recipe.Entry("data.calibration").options;
  text += fmt::format("calibrate  {} tokens of {} documents\n", FormatCount(state.CalibrationWindows().numel()),
                      state.calibration_corpus().documents.size());
  if (recipe.Has("heal")) {
    size_t documents = 0;
    for (const HealingText& healing : state.HealingTexts())
      documents += healing.corpus != nullptr ? healing.corpus->documents.size() : 1;
    text += fmt::format("heal       {} tokens of {} documents\n",
                        FormatCount(recipe.Entry("heal").options.Int("tokens")), documents);
  }
  text += fmt::format("evaluate   {} suites for each of {}\n", recipe.List("evaluate").size(),
                      recipe.Has("heal") ? "dense, pruned, healed" : "dense, pruned");
  const double attention = static_cast<double>(model.config.L() * calibration.Int("length") * model.config.C);
  const double seconds = static_cast<double>(ForwardTokens(recipe)) * 2 *
                         (static_cast<double>(dense.macs) + attention) / (0.6 * MachineFlops());
  text += fmt::format("estimate   about {} of memory, about {} on this machine (estimated from one matrix product)\n",
                      FormatBytes(MemoryEstimate(recipe, model, dense)), FormatSeconds(seconds));
  if (recipe.Has("sweep"))
    text += fmt::format("sweep      {} cells; the figures above are of this recipe without its sweep\n",
                        ExpandSweep(recipe, RunFolder(recipe)).cells.size());
  return text;
}

}  // namespace espalier
