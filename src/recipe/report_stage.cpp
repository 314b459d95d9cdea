// Gathers what the stages wrote into one report. Written anew each time: it costs nothing and shows the run as it is.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/memory.h"
#include "espalier/core/version.h"
#include "espalier/evaluate/gate.h"
#include "espalier/report/csv.h"
#include "espalier/report/format.h"
#include "espalier/report/report.h"
#include "run_state.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

int64_t WeightBytes(const fs::path& path) {
  if (fs::is_regular_file(path)) return static_cast<int64_t>(fs::file_size(path));
  int64_t bytes = 0;
  if (fs::is_directory(path))
    for (const auto& entry : fs::directory_iterator(path))
      if (entry.path().extension() == ".safetensors") bytes += static_cast<int64_t>(entry.file_size());
  return bytes;
}

ModelSummary Summary(const RunState& state, const std::string& name, const Cost& cost) {
  return {name, cost.total_parameters, cost.block_parameters, cost.bytes, WeightBytes(state.ModelPath(name))};
}

std::vector<Results> ReadResults(RunState& state, const std::vector<std::string>& models) {
  std::vector<Results> results;
  for (const std::string& model : models)
    for (const RecipeEntry& entry : state.recipe().List("evaluate")) {
      const std::string id = Registry<Evaluator>::Create(entry.name, entry.options)->Id();
      const fs::path path = state.folder() / "evaluate" / model / (id + ".json");
      results.push_back(ResultsFromJson(ReadJson(path), path.string()));
    }
  return results;
}

std::optional<HealingCurve> ReadCurve(const fs::path& path) {
  if (!fs::exists(path)) return std::nullopt;
  const Json json = ReadJson(path);
  HealingCurve curve;
  curve.tokens = json.at("tokens").get<std::vector<int64_t>>();
  curve.loss = json.at("loss").get<std::vector<double>>();
  curve.validation_tokens = json.at("validation_tokens").get<std::vector<int64_t>>();
  curve.validation_loss = json.at("validation_loss").get<std::vector<double>>();
  return curve;
}

// Fewer operations are not always less time: said where the machine shows no gain.
void AddSpeedNotices(const std::vector<Results>& results, const std::string& model, std::vector<std::string>& notices) {
  for (const Results& result : results) {
    if (result.suite != "speed" || result.model != model) continue;
    const auto dense = std::ranges::find_if(
        results, [&](const Results& other) { return other.model == "dense" && other.id == result.id; });
    if (dense == results.end()) continue;
    for (const Metric& rate : result.metrics) {
      const Metric* before = rate.unit == "tokens/s" ? dense->Find(rate.name) : nullptr;
      if (before == nullptr || rate.value > before->high.value_or(before->value)) continue;
      notices.push_back(fmt::format("No speed-up on this machine: {} {:.4g} {}, dense {:.4g} (third quartile {:.4g}).",
                                    PlainName(rate.name), rate.value, model, before->value,
                                    before->high.value_or(before->value)));
    }
  }
}

// Two corpora whose ratios differ beyond their intervals: what was learned from calibration does not carry over evenly.
void AddOverfitNotices(const std::vector<Results>& results, const std::string& model,
                       std::vector<std::string>& notices) {
  std::vector<std::pair<std::string, const Metric*>> ratios;
  for (const Results& result : results)
    if (const Metric* ratio = result.model == model ? result.Find("perplexity_ratio") : nullptr)
      ratios.emplace_back(result.id, ratio);
  if (ratios.size() == 1)
    notices.push_back(fmt::format("{}: judged on one text only; two are the least for a claim about quality.", model));
  if (ratios.size() < 2) return;
  const auto by_value = [](const auto& a, const auto& b) { return a.second->value < b.second->value; };
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end(), by_value);
  if (least->second->high.value_or(0) < most->second->low.value_or(0))
    notices.push_back(
        fmt::format("{}: perplexity rises x{:.2f} on {} and x{:.2f} on {}, apart beyond their intervals: part of the "
                    "gain is fitted to "
                    "the text it was calibrated or healed on.",
                    model, least->second->value, least->first, most->second->value, most->first));
}

std::vector<std::pair<std::string, std::string>> Provenance(RunState& state, const std::vector<std::string>& models) {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const auto& [key, value] : state.manifest().environment().items())
    lines.emplace_back(key, value.is_string() ? value.get<std::string>() : value.dump());
  lines.emplace_back("peak_memory",
                     FormatBytes(static_cast<double>(std::max(PeakMemory(), state.manifest().PeakMemory()))));
  const Json pruned = state.manifest().Facts("prune");
  if (pruned.is_object())
    lines.emplace_back("self_check_mask_equals_cut",
                       fmt::format("{:.1e} relative, limit {:.0e}", pruned.at("mask_equals_cut").get<double>(),
                                   pruned.at("mask_equals_cut_limit").get<double>()));
  std::vector<std::string> stages;
  for (const std::string& stage : StageNames()) {
    if (stage == "analyze" || stage == "evaluate")
      for (const std::string& model : models) stages.push_back(stage + "." + model);
    else
      stages.push_back(stage);
  }
  for (const std::string& stage : stages)
    if (const double seconds = state.manifest().Seconds(stage); seconds > 0)
      lines.emplace_back("time_" + stage, FormatSeconds(seconds));
  return lines;
}

std::vector<GateOutcome> JudgeGates(const Recipe& recipe, const std::vector<Results>& results, RunOutcome& outcome) {
  std::vector<GateOutcome> outcomes;
  for (const RecipeEntry& entry : recipe.List("gates"))
    for (const GateResult& result : Registry<Gate>::Create(entry.name, entry.options)->Judge(results)) {
      outcomes.push_back({result.text, std::string(VerdictName(result.verdict)), result.detail});
      outcome.gates.push_back({outcome.folder.filename().string(), result.text, outcomes.back().verdict, result.detail,
                               entry.line > 0 ? recipe.path().string() : "", entry.line});
    }
  return outcomes;
}

}  // namespace

RunOutcome ReportStage(RunState& state, const std::vector<std::string>& models, const std::vector<std::string>& leaks) {
  const Options& run = state.recipe().Entry("").options;
  RunOutcome outcome;
  outcome.folder = state.folder();
  ReportInput input;
  input.recipe_name = state.folder().filename().string();
  input.question = run.Has("question") ? run.Text("question") : "";
  const fs::path planned = state.folder() / "plan.json";
  input.plan = PlanFromJson(ReadJson(planned), planned.string());
  for (const std::string& model : models) {
    input.models.push_back(Summary(state, model, model == "dense" ? input.plan->dense : input.plan->pruned));
    const fs::path analyzed = state.folder() / "analyze" / (model + ".json");
    input.phenomena.push_back(PhenomenaFromJson(ReadJson(analyzed), analyzed.string()));
  }
  input.results = ReadResults(state, models);
  if (models.back() == "healed") input.healing = ReadCurve(state.folder() / "heal.json");
  input.gates = JudgeGates(state.recipe(), input.results, outcome);
  for (const std::string& leak : leaks)
    input.notices.push_back("Evaluation text was used for training or calibration (allow_leak): " + leak + ".");
  for (const std::string& model : models)
    if (model != "dense") {
      AddOverfitNotices(input.results, model, input.notices);
      AddSpeedNotices(input.results, model, input.notices);
    }
  input.provenance = Provenance(state, models);

  const Json report = BuildReport(input);
  WriteJson(state.folder() / "report.json", report);
  outcome.markdown = RenderMarkdown(report);
  WriteFile(state.folder() / "report.md", outcome.markdown);
  if (!outcome.gates.empty())
    WriteFile(state.folder() / "junit.xml", RenderJUnit(outcome.gates, {{"espalier", Version()}}));
  WriteFile(state.folder() / "report.csv", RenderCsv(report));
  WriteFile(state.folder() / "report.html", RenderHtml(report));
  outcome.report = state.folder() / "report.html";
  outcome.table = RenderTerminalTable(report);
  return outcome;
}

}  // namespace espalier
