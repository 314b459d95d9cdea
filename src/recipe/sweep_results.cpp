#include "sweep_results.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "espalier/analyze/phenomena.h"
#include "espalier/core/error.h"
#include "espalier/evaluate/bootstrap.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/evaluate/losses.h"
#include "espalier/plan/plan.h"
#include "manifest.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> PrunedModels(const Recipe& recipe) {
  return recipe.Has("heal") ? std::vector<std::string>{"pruned", "healed"} : std::vector<std::string>{"pruned"};
}

// Results of `model` that have a perplexity.
std::vector<Results> Perplexities(const fs::path& folder, const std::string& model, const Recipe& recipe) {
  std::vector<Results> all;
  for (const RecipeEntry& entry : recipe.List("evaluate")) {
    const std::string id = Registry<Evaluator>::Create(entry.name, entry.options)->Id();
    const fs::path path = folder / "evaluate" / model / (id + ".json");
    Results results = ResultsFromJson(ReadJson(path), path.string());
    if (results.Find("perplexity") != nullptr) all.push_back(std::move(results));
  }
  return all;
}

std::string ProtocolValue(const Results& results, std::string_view key) {
  for (const auto& [name, value] : results.protocol)
    if (name == key) return value;
  return "";
}

// Every list of kept units in the plan, by its key; blocks are added up.
std::vector<SweepCut> CutsOf(const Json& plan) {
  std::vector<SweepCut> cuts;
  const auto add = [&](const std::string& kind, const Json& units) {
    if (!units.is_object() || !units.contains("before") || !units.contains("kept")) return;
    auto found = std::find_if(cuts.begin(), cuts.end(), [&](const SweepCut& cut) { return cut.kind == kind; });
    if (found == cuts.end()) found = cuts.insert(cuts.end(), SweepCut{kind, 0, 0});
    const auto before = units.at("before").get<int64_t>();
    found->of += before;
    found->cut += before - units.at("kept").get<int64_t>();
  };
  for (const Json& block : plan.at("blocks"))
    for (const auto& [key, value] : block.items()) add(key, value);
  for (const auto& [key, value] : plan.items()) add(key, value);
  return cuts;
}

double Removed(int64_t dense, int64_t pruned) {
  return dense > 0 ? static_cast<double>(dense - pruned) / static_cast<double>(dense) : 0;
}

void ReadPlan(const fs::path& path, SweepRun& run) {
  const Json json = ReadJson(path);
  const Plan plan = PlanFromJson(json, path.string());
  run.achieved = plan.achieved_share;
  run.block_parameters = Removed(plan.dense.block_parameters, plan.pruned.block_parameters);
  run.total_parameters = Removed(plan.dense.total_parameters, plan.pruned.total_parameters);
  run.bytes = Removed(plan.dense.bytes, plan.pruned.bytes);
  run.cut = CutsOf(json);
  run.protected_units = static_cast<int64_t>(plan.protected_units.size());
  run.protected_would_cut = std::count_if(plan.protected_units.begin(), plan.protected_units.end(),
                                          [](const ProtectedUnit& unit) { return unit.would_cut; });
}

double Mean(const at::Tensor& nll) {
  return nll.to(at::kDouble).mean().item<double>();
}

SweepPoint PointOf(const fs::path& root, const std::vector<const SweepCell*>& cells, const SweepFigure& first) {
  SweepPoint point;
  point.variant = cells.front()->variant;
  point.remove = cells.front()->remove;
  point.model = first.model;
  point.text = first.text;
  at::Tensor difference;
  double loss = 0;
  for (const SweepCell* cell : cells)
    for (const SweepFigure& figure : cell->run->figures) {
      if (figure.model != point.model || figure.text != point.text) continue;
      const fs::path folder = root / cell->folder / "evaluate";
      const at::Tensor nll = LoadLosses(folder / point.model, point.text).each;
      const at::Tensor own = (nll - LoadLosses(folder / "dense", point.text).each).to(at::kDouble);
      if (difference.defined() && difference.numel() != own.numel())
        throw ShapeError(fmt::format("{}: {} tokens, other seeds have {}", LossesPath(folder, point.text).string(),
                                     own.numel(), difference.numel()));
      difference = difference.defined() ? difference + own : own;
      loss += Mean(nll);
      point.lowest = point.seeds == 0 ? figure.perplexity : std::min(point.lowest, figure.perplexity);
      point.highest = point.seeds == 0 ? figure.perplexity : std::max(point.highest, figure.perplexity);
      ++point.seeds;
    }
  const auto seeds = static_cast<double>(point.seeds);
  const at::Tensor mean = (difference / seeds).to(at::kFloat).contiguous();
  const Interval ratio =
      BootstrapExpMean(std::span<const float>(mean.data_ptr<float>(), static_cast<size_t>(mean.numel())));
  point.perplexity = std::exp(loss / seeds);
  point.ratio = ratio.mean;
  point.ratio_low = ratio.low;
  point.ratio_high = ratio.high;
  return point;
}

}  // namespace

SweepRun ReadSweepRun(const fs::path& folder, const Recipe& recipe) {
  SweepRun run;
  ReadPlan(folder / "plan.json", run);
  for (const std::string& model : PrunedModels(recipe)) {
    for (const Results& results : Perplexities(folder, model, recipe)) {
      const Metric* ratio = results.Find("perplexity_ratio");
      if (ratio == nullptr) continue;
      run.figures.push_back({model, results.id, results.Find("perplexity")->value, ratio->value,
                             ratio->low.value_or(NAN), ratio->high.value_or(NAN)});
    }
    const fs::path analyzed = folder / "analyze" / (model + ".json");
    const Phenomena phenomena = PhenomenaFromJson(ReadJson(analyzed), analyzed.string());
    run.phenomena.push_back({model, phenomena.sink_rate, phenomena.LargestResidual()});
  }
  const Manifest manifest(folder);
  run.calibrate_seconds = manifest.Seconds("calibrate");
  run.plan_seconds = manifest.Seconds("plan");
  run.prune_seconds = manifest.Seconds("prune");
  for (const char* stage : {"calibrate", "plan", "prune"}) {
    const Json entry = manifest.Entry(stage);
    if (entry.is_object())
      run.peak_memory_bytes = std::max(run.peak_memory_bytes, entry.value("peak_memory_bytes", int64_t{0}));
  }
  return run;
}

void AddSweepTexts(const fs::path& folder, const Recipe& recipe, std::vector<SweepText>& texts) {
  for (const Results& results : Perplexities(folder, "dense", recipe)) {
    if (std::any_of(texts.begin(), texts.end(), [&](const SweepText& text) { return text.id == results.id; })) continue;
    const Metric& dense = *results.Find("perplexity");
    SweepText text{results.id,  ProtocolValue(results, "corpus"), ProtocolValue(results, "preset"), {},
                   dense.value, dense.low.value_or(NAN),          dense.high.value_or(NAN)};
    for (const auto& [name, value] : results.protocol) text.protocol.push_back({name, value});
    texts.push_back(std::move(text));
  }
}

std::vector<SweepPoint> PointsOf(const fs::path& root, const std::vector<const SweepCell*>& cells) {
  std::vector<SweepPoint> points;
  if (cells.empty()) return points;
  for (const SweepFigure& figure : cells.front()->run->figures) points.push_back(PointOf(root, cells, figure));
  return points;
}

std::string MethodText(const Recipe& recipe) {
  std::vector<std::string> parts;
  for (const char* section : {"prune.score", "prune.allocate", "prune.compensate"})
    parts.push_back(fmt::format("{} {}", std::string_view(section).substr(6), recipe.Entry(section).name));
  std::vector<std::string> rules;
  for (const RecipeEntry& rule : recipe.List("protect")) rules.push_back(rule.name);
  parts.push_back(rules.empty() ? "protect nothing" : fmt::format("protect {}", fmt::join(rules, ", ")));
  if (recipe.Has("heal")) parts.push_back("heal " + recipe.Entry("heal").name);
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace espalier
