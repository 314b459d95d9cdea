// The stages of a run. Each reads only what stages before it wrote, and writes one thing.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/analyze/options.h"
#include "espalier/calibrate/calibrate.h"
#include "espalier/calibrate/windows.h"
#include "espalier/core/error.h"
#include "espalier/core/hash.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/heal/trainer.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "espalier/plan/planner.h"
#include "espalier/prune/compensator.h"
#include "espalier/prune/cut.h"
#include "espalier/prune/sequential.h"
#include "run_state.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr double kMaskEqualsCut = 1e-4;  // relative, float32; bfloat16 rounds at 4e-3
constexpr double kMaskEqualsCutBfloat16 = 3e-2;
constexpr int64_t kCheckTokens = 256;

Json EntryJson(const RecipeEntry& entry) {
  return {{"name", entry.name}, {"options", entry.options.ToJson()}};
}

Json ListJson(const std::vector<RecipeEntry>& entries) {
  Json json = Json::array();
  for (const RecipeEntry& entry : entries) json.push_back(EntryJson(entry));
  return json;
}

Json CalibrationData(RunState& state) {
  const Options& options = state.recipe().Entry("data.calibration").options;
  return {{"corpus", state.calibration_corpus().sha256},
          {"sequences", options.Int("sequences")},
          {"length", options.Int("length")}};
}

bool Needs(const ComponentInfo& info, std::string_view what) {
  return std::find(info.needs.begin(), info.needs.end(), what) != info.needs.end();
}

bool NeedsFromStatistics(const Recipe& recipe, std::string_view what) {
  for (const RecipeEntry& entry : recipe.List("protect"))
    if (Needs(Registry<ProtectionRule>::Find(entry.name).info, what)) return true;
  return Needs(Registry<Scorer>::Find(recipe.Entry("prune.score").name).info, what) ||
         Needs(Registry<Compensator>::Find(recipe.Entry("prune.compensate").name).info, what);
}

at::Tensor CheckIds(RunState& state) {
  const at::Tensor windows = state.CalibrationWindows();
  return windows.narrow(0, 0, 1).narrow(1, 0, std::min<int64_t>(kCheckTokens, windows.size(1))).to(state.device());
}

// Saves, loads again and compares logits: what is on disk is the model, to the bit.
void SaveAndReload(RunState& state, const Model& model, const std::string& name) {
  SaveModel(model, state.tokenizer(), state.ModelPath(name));
  Model loaded = LoadModel(state.ModelPath(name), state.dtype(), state.device());
  const at::NoGradGuard no_grad;
  const at::Tensor ids = CheckIds(state);
  if (!at::equal(Logits(model, ids), Logits(loaded, ids)))
    throw NumericError(
        fmt::format("{}: the model loaded back gives other logits than the one that was saved; please report this",
                    state.ModelPath(name).string()));
  state.KeepModel(name, std::move(loaded));
}

Json CurveJson(const HealCurve& curve) {
  return {{"schema", "espalier.heal/1"},
          {"tokens", curve.tokens},
          {"loss", curve.loss},
          {"validation_tokens", curve.validation_tokens},
          {"validation_loss", curve.validation_loss}};
}

// Refits what the plan cut, in `cut`, as the recipe says.
void CompensateCut(RunState& state, const Plan& plan, Model& cut) {
  const RecipeEntry& entry = state.recipe().Entry("prune.compensate");
  const auto compensator = Registry<Compensator>::Create(entry.name, entry.options);
  if (compensator->Sequential()) {
    const Options& calibration = state.recipe().Entry("data.calibration").options;
    CompensateSequentially(state.dense(), plan,
                           {.windows = state.CalibrationWindows(),
                            .tokens = ParseTokenWeighting(calibration.Text("tokens")),
                            .outlier_ratio = calibration.Real("outlier_ratio")},
                           *compensator, cut);
  } else if (NeedsStatistics(state.recipe())) {
    Compensate(state.dense(), plan, LoadStatistics(state.folder() / "calibrate" / "statistics.safetensors"),
               *compensator, cut);
  }
}

}  // namespace

bool NeedsStatistics(const Recipe& recipe) {
  for (const StatisticsNeed& need : kStatisticsNeeds)
    if (NeedsFromStatistics(recipe, need.name)) return true;
  return false;
}

std::string AnalyzeStage(RunState& state, const std::string& model_name, const std::string& model_key) {
  const Options& recipe = state.recipe().Entry("analyze").options;
  const fs::path output = state.folder() / "analyze" / (model_name + ".json");
  const Json inputs = {{"model", model_key}, {"data", CalibrationData(state)}, {"options", recipe.ToJson()}};
  return state.Stage("analyze." + model_name, inputs, output, [&]() -> Json {
    const at::Tensor all = state.CalibrationWindows();
    const int64_t windows = std::clamp<int64_t>(recipe.Int("tokens") / all.size(1), 1, all.size(0));
    const Phenomena phenomena = Analyze(state.ModelNamed(model_name), all.narrow(0, 0, windows),
                                        AnalyzeOptionsFrom(recipe), model_name, &state.tokenizer());
    WriteJson(output, PhenomenaToJson(phenomena));
    return {{"spike_neurons", phenomena.neurons.size()}, {"sink_rate", phenomena.sink_rate}};
  });
}

std::string CalibrateStage(RunState& state) {
  const fs::path output = state.folder() / "calibrate" / "statistics.safetensors";
  const Options& recipe = state.recipe().Entry("data.calibration").options;
  CalibrateOptions options;
  options.tokens = ParseTokenWeighting(recipe.Text("tokens"));
  options.outlier_ratio = recipe.Real("outlier_ratio");
  options.gradient_tokens = recipe.Int("gradient_tokens");
  Json needs = Json::array();
  for (const StatisticsNeed& need : kStatisticsNeeds) {
    if (need.option == nullptr || !NeedsFromStatistics(state.recipe(), need.name)) continue;
    options.*need.option = true;
    needs.push_back(need.name);
  }
  const bool runs_backward = options.gradients || options.gradient_products || options.weight_gradients;
  const Json inputs = {{"data", CalibrationData(state)},
                       {"tokens", TokenWeightingName(options.tokens)},
                       {"outlier_ratio", options.outlier_ratio},
                       {"needs", needs},
                       {"gradient_tokens", runs_backward ? options.gradient_tokens : 0}};
  return state.Stage("calibrate", inputs, output, [&]() -> Json {
    const at::Tensor windows = state.CalibrationWindows();
    SaveStatistics(Calibrate(state.dense(), windows, options), output);
    return {{"tokens", windows.numel()}};
  });
}

std::string PlanStage(RunState& state, const std::string& analyze_key, const std::string& calibrate_key) {
  const Recipe& recipe = state.recipe();
  const fs::path output = state.folder() / "plan.json";
  const bool runs_model = Needs(Registry<Scorer>::Find(recipe.Entry("prune.score").name).info, "windows");
  const Json inputs = {{"analyze", analyze_key},
                       {"windows", runs_model ? CalibrationData(state) : Json()},
                       {"calibrate", calibrate_key},
                       {"protect", ListJson(recipe.List("protect"))},
                       {"units", recipe.Entry("prune").options.ToJson()},
                       {"score", EntryJson(recipe.Entry("prune.score"))},
                       {"budget", recipe.Entry("prune.budget").options.ToJson()},
                       {"allocate", EntryJson(recipe.Entry("prune.allocate"))},
                       {"compensate", recipe.Entry("prune.compensate").name}};
  return state.Stage("plan", inputs, output, [&]() -> Json {
    const fs::path analyzed = state.folder() / "analyze" / "dense.json";
    const Phenomena phenomena = PhenomenaFromJson(ReadJson(analyzed), analyzed.string());
    std::optional<Statistics> statistics;
    if (NeedsStatistics(recipe)) statistics = LoadStatistics(state.folder() / "calibrate" / "statistics.safetensors");
    const ProtectionInput looked_at{state.dense().config, phenomena, statistics ? &*statistics : nullptr};
    std::vector<Protection> protections;
    for (const RecipeEntry& entry : recipe.List("protect"))
      for (Protection& protection : Registry<ProtectionRule>::Create(entry.name, entry.options)->Protect(looked_at))
        protections.push_back(std::move(protection));
    PlanOptions options;
    options.scorer_name = recipe.Entry("prune.score").name;
    options.allocator_name = recipe.Entry("prune.allocate").name;
    for (const std::string& kind : recipe.Entry("prune").options.TextList("units"))
      options.kinds.push_back(ParseUnitKind(kind));
    if (runs_model) options.windows = state.CalibrationWindows();
    options.budget_of = recipe.Entry("prune.budget").options.Text("of");
    options.remove = recipe.Entry("prune.budget").options.Real("remove");
    options.min_kv_groups = recipe.Entry("prune.allocate").options.Int("min_kv_groups");
    options.min_ffn_channels = recipe.Entry("prune.allocate").options.Int("min_ffn_channels");
    options.round_ffn_to = recipe.Entry("prune.allocate").options.Int("round_ffn_to");
    options.compensation_adds_bias =
        Registry<Compensator>::Create(recipe.Entry("prune.compensate").name, recipe.Entry("prune.compensate").options)
            ->AddsBias();
    Plan plan = MakePlan(state.dense(), statistics ? &*statistics : nullptr,
                         *Registry<Scorer>::Create(options.scorer_name, recipe.Entry("prune.score").options),
                         *Registry<Allocator>::Create(options.allocator_name, recipe.Entry("prune.allocate").options),
                         protections, options);
    plan.model_sha256 = state.base().at("model").get<std::string>();
    WriteJson(output, PlanToJson(plan));
    return {{"requested", plan.requested_share},
            {"achieved", plan.achieved_share},
            {"protected", plan.protected_units.size()}};
  });
}

std::string PruneStage(RunState& state, const std::string& plan_key, const std::string& calibrate_key) {
  const RecipeEntry& compensate = state.recipe().Entry("prune.compensate");
  const Json inputs = {{"plan", plan_key}, {"calibrate", calibrate_key}, {"compensate", EntryJson(compensate)}};
  return state.Stage("prune", inputs, state.ModelPath("pruned"), [&]() -> Json {
    const fs::path planned = state.folder() / "plan.json";
    const Plan plan = PlanFromJson(ReadJson(planned), planned.string());
    Model cut = Cut(state.dense(), plan);
    const double limit = state.dtype() == at::kFloat ? kMaskEqualsCut : kMaskEqualsCutBfloat16;
    const double difference = CheckCutEqualsMask(cut, Mask(state.dense(), plan), CheckIds(state), limit);
    LogInfo("self-check: the cut model's logits equal the masked model's within {:.1e} (relative)", difference);
    CompensateCut(state, plan, cut);
    if (CountBlockParameters(cut) != plan.pruned.block_parameters)
      throw InternalError(fmt::format("the pruned model has {} block parameters, the plan says {}",
                                      CountBlockParameters(cut), plan.pruned.block_parameters));
    SaveAndReload(state, cut, "pruned");
    return {{"mask_equals_cut", difference}, {"mask_equals_cut_limit", limit}};
  });
}

std::string HealStage(RunState& state, const std::string& prune_key) {
  const RecipeEntry& entry = state.recipe().Entry("heal");
  const Json inputs = {{"prune", prune_key}, {"corpus", state.healing_corpus().sha256}, {"heal", EntryJson(entry)}};
  return state.Stage("heal", inputs, state.ModelPath("healed"), [&]() -> Json {
    const HealOptions options = HealOptionsFrom(entry.options, state.seed());
    // The name carries the inputs: the state of another healing is never taken for this one's.
    const fs::path unfinished =
        state.folder() /
        fmt::format("heal-{}.safetensors", HashText(state.base().dump() + inputs.dump()).substr(0, 16));
    for (const auto& file : fs::directory_iterator(state.folder()))
      if (file.path() != unfinished && file.path().filename().string().starts_with("heal-") &&
          file.path().extension() == ".safetensors")
        fs::remove(file.path());
    const at::Tensor windows = PackWindows(state.tokenizer(), state.healing_corpus(), 0, options.length, state.seed());
    const HealResult healed = Heal(state.ModelNamed("pruned"), windows,
                                   *Registry<HealingMethod>::Create(entry.name, entry.options), options, unfinished);
    WriteJson(state.folder() / "heal.json", CurveJson(healed.curve));
    SaveAndReload(state, healed.model, "healed");
    fs::remove(unfinished);
    Json facts = {{"steps", healed.curve.loss.size()}};
    if (!healed.curve.validation_loss.empty())
      facts["validation_loss"] = {healed.curve.validation_loss.front(), healed.curve.validation_loss.back()};
    return facts;
  });
}

std::string EvaluateStage(RunState& state, const std::string& model_name, const std::string& model_key,
                          const std::string& dense_key) {
  const fs::path folder = state.folder() / "evaluate" / model_name;
  Json texts = Json::array();
  for (const RecipeEntry& entry : state.recipe().List("evaluate")) {
    const auto text = Registry<Evaluator>::Create(entry.name, entry.options)->Text();
    texts.push_back(text ? state.EvaluationCorpus(*text).sha256 : "");
  }
  const Json inputs = {{"model", model_key},
                       {"dense", dense_key},
                       {"evaluate", ListJson(state.recipe().List("evaluate"))},
                       {"texts", texts}};
  return state.Stage("evaluate." + model_name, inputs, folder, [&]() -> Json {
    std::filesystem::create_directories(folder);  // also when there is nothing to evaluate: the stage is finished then
    Json facts = Json::object();
    EvaluationInput input{state.ModelNamed(model_name), state.tokenizer(), model_name, folder, std::nullopt};
    if (model_name != "dense") input.dense = state.folder() / "evaluate" / "dense";
    for (const RecipeEntry& entry : state.recipe().List("evaluate")) {
      const Results results = Registry<Evaluator>::Create(entry.name, entry.options)->Run(input);
      WriteJson(folder / (results.id + ".json"), ResultsToJson(results));
      facts[results.id] = results.metrics.empty() ? 0.0 : results.metrics.front().value;
    }
    return facts;
  });
}

}  // namespace espalier
