// The stages of a run. Each reads only what stages before it wrote, and writes one thing.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "espalier/analyze/options.h"
#include "espalier/calibrate/calibrate.h"
#include "espalier/calibrate/windows.h"
#include "espalier/comm/share.h"
#include "espalier/core/error.h"
#include "espalier/core/hash.h"
#include "espalier/core/log.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/heal/trainer.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "espalier/model/precision.h"
#include "espalier/plan/compose.h"
#include "espalier/plan/planner.h"
#include "espalier/prune/compensator.h"
#include "espalier/prune/cut.h"
#include "espalier/prune/refit_values.h"
#include "espalier/prune/residue.h"
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
          {"length", options.Int("length")},
          {"windows", options.Text("windows")}};
}

bool Needs(const ComponentInfo& info, std::string_view what) {
  return std::find(info.needs.begin(), info.needs.end(), what) != info.needs.end();
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
          {"validation_loss", curve.validation_loss},
          {"local_error", {{"before", curve.local_before}, {"after", curve.local_after}}}};
}

// From memory when the model is there, else block by block from its checkpoint: bitwise the same.
Statistics CalibrateModel(RunState& state, const std::string& name, const at::Tensor& windows,
                          const CalibrateOptions& options) {
  if (state.Holds(name)) return CalibrateShare(state.ModelNamed(name), windows, options, state.comm());
  StreamedModel streamed(state.ModelPath(name), state.dtype(), state.device());
  return CalibrateShare(streamed, windows, options, state.comm());
}

// Each rank leaves its part beside the output; rank 0 merges them in the order of ranks.
void CalibrateTogether(RunState& state, const std::string& name, const at::Tensor& windows,
                       const CalibrateOptions& options, const fs::path& output) {
  Comm& comm = state.comm();
  if (comm.size() == 1) return SaveStatistics(CalibrateModel(state, name, windows, options), output);
  const auto part = [&](int64_t rank) {
    return output.parent_path() / fmt::format("{}.part-{}", output.filename().string(), rank);
  };
  WorkTogether(comm, [&] { SaveStatistics(CalibrateModel(state, name, windows, options), part(comm.rank())); });
  OnLeader(comm, [&] {
    Statistics all = LoadStatistics(part(0));
    for (int64_t rank = 1; rank < comm.size(); ++rank) all.Merge(LoadStatistics(part(rank)));
    SaveStatistics(all, output);
    for (int64_t rank = 0; rank < comm.size(); ++rank) fs::remove(part(rank));
  });
}

// `count` of the windows, or all where there are no more or count is 0.
at::Tensor EvenlySpread(const at::Tensor& windows, int64_t count) {
  const int64_t all = windows.size(0);
  if (count == 0 || count >= all) return windows;
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < count; ++i) rows.push_back(i * all / count);
  return windows.index_select(0, at::tensor(rows, at::kLong));
}

// Refits what the plan cut of `model`, in `cut`, as the recipe says.
void CompensateCut(RunState& state, const Model& model, const Plan& plan, const fs::path& statistics, Model& cut) {
  const RecipeEntry& entry = state.recipe().Entry("prune.compensate");
  const auto compensator = Registry<Compensator>::Create(entry.name, entry.options);
  const Options& calibration = state.recipe().Entry("data.calibration").options;
  if (compensator->Sequential()) {
    CompensateSequentially(model, plan,
                           {.windows = state.CalibrationWindows(),
                            .tokens = ParseTokenWeighting(calibration.Text("tokens")),
                            .outlier_ratio = calibration.Real("outlier_ratio"),
                            .matmul = ParseMatmul(calibration.Text("matmul"), state.device())},
                           *compensator, cut);
  } else if (NeedsStatistics(state.recipe())) {
    Compensate(model, plan, LoadStatistics(state.folder() / statistics), *compensator, cut);
  }
  if (const std::optional<ResidueOptions> residue = compensator->Residue()) {
    const double found = AddResidue(model, plan,
                                    {.windows = EvenlySpread(state.CalibrationWindows(), residue->sequences),
                                     .tokens = ParseTokenWeighting(calibration.Text("tokens")),
                                     .outlier_ratio = calibration.Real("outlier_ratio"),
                                     .matmul = ParseMatmul(calibration.Text("matmul"), state.device()),
                                     .rank = residue->rank,
                                     .ridge = residue->ridge},
                                    cut);
    LogInfo("refit and residue of rank {} explain {:.1f} % of what the removed FFN channels gave", residue->rank,
            100 * found);
  }
  if (const std::optional<ValuesOptions> values = compensator->Values())
    RefitValues(model,
                {.windows = EvenlySpread(state.CalibrationWindows(), values->sequences),
                 .matmul = ParseMatmul(calibration.Text("matmul"), state.device()),
                 .outlier_ratio = calibration.Real("outlier_ratio"),
                 .ridge = values->ridge},
                cut);
}

Plan ReadPlan(const RunState& state, const fs::path& name) {
  const fs::path path = state.folder() / name;
  return PlanFromJson(ReadJson(path), path.string());
}

// What the first `steps` steps of a schedule remove together.
Plan PlanOfSteps(const RunState& state, int64_t steps, int64_t of) {
  Plan plan = ReadPlan(state, PruneStep{1, of}.Plan());
  for (int64_t number = 2; number <= steps; ++number)
    plan = Compose(plan, ReadPlan(state, PruneStep{number, of}.Plan()));
  return plan;
}

// The rules look at the dense model; what they name is then found in the model at hand.
std::vector<Protection> ProtectionsOf(RunState& state, const PruneStep& step) {
  const fs::path analyzed = state.folder() / "analyze" / "dense.json";
  const Phenomena phenomena = PhenomenaFromJson(ReadJson(analyzed), analyzed.string());
  std::optional<Statistics> statistics;
  if (NeedsStatistics(state.recipe())) statistics = LoadStatistics(state.folder() / PruneStep().Statistics());
  const ProtectionInput input{state.dense().config, phenomena, statistics ? &*statistics : nullptr};
  std::vector<Protection> protections;
  for (const RecipeEntry& entry : state.recipe().List("protect"))
    for (Protection& protection : Registry<ProtectionRule>::Create(entry.name, entry.options)->Protect(input))
      protections.push_back(std::move(protection));
  if (step.number == 1) return protections;
  return Renumber(state.dense(), PlanOfSteps(state, step.number - 1, step.of), protections);
}

// What a step takes: what is missing to its part of the budget, whatever the steps before it left over.
void TakeStep(const Model& dense, const Model& model, const PruneStep& step, PlanOptions& options) {
  if (step.of == 1) return;
  const int64_t whole = Measure(DenseCost(dense, options.timing), options.budget_of);
  const int64_t current = Measure(DenseCost(model, options.timing), options.budget_of);
  const auto due = static_cast<int64_t>(options.remove * static_cast<double>(whole) * static_cast<double>(step.number) /
                                        static_cast<double>(step.of));
  options.amount = std::max<int64_t>(0, due - (whole - current));
  options.remove = static_cast<double>(*options.amount) / static_cast<double>(current);
}

PlanOptions PlanOptionsFrom(const Recipe& recipe) {
  const Options& allocate = recipe.Entry("prune.allocate").options;
  const RecipeEntry& compensate = recipe.Entry("prune.compensate");
  PlanOptions options;
  options.scorer_name = recipe.Entry("prune.score").name;
  options.allocator_name = recipe.Entry("prune.allocate").name;
  for (const std::string& kind : recipe.Entry("prune").options.TextList("units"))
    options.kinds.push_back(ParseUnitKind(kind));
  options.budget_of = recipe.Entry("prune.budget").options.Text("of");
  options.remove = recipe.Entry("prune.budget").options.Real("remove");
  options.min_kv_groups = allocate.Int("min_kv_groups");
  options.min_ffn_channels = allocate.Int("min_ffn_channels");
  options.round_ffn_to = allocate.Int("round_ffn_to");
  options.swaps = allocate.Int("swaps");
  const auto compensator = Registry<Compensator>::Create(compensate.name, compensate.options);
  options.compensation_adds_bias = compensator->AddsBias();
  options.residue_adds_bias = compensator->Residue().has_value();
  return options;
}

// A model cut to a plan that an allocator tries. Compensated where that takes no pass over the model.
Model Trial(const Recipe& recipe, const Model& model, const std::optional<Statistics>& statistics, const Plan& plan) {
  const RecipeEntry& entry = recipe.Entry("prune.compensate");
  const auto compensator = Registry<Compensator>::Create(entry.name, entry.options);
  Model cut = Cut(model, plan);
  if (statistics && !compensator->Sequential()) Compensate(model, plan, *statistics, *compensator, cut, /*quiet=*/true);
  return cut;
}

// What unfinished healings left in a run's folder, but for that of `keep`.
void RemoveHealingStates(const fs::path& folder, const fs::path& keep) {
  static const std::regex kState("heal-[0-9a-f]{16}(\\.safetensors(\\.[0-9]+|\\.blocks)?|-teacher)");
  std::vector<fs::path> gone;
  for (const auto& file : fs::directory_iterator(folder))
    if (std::regex_match(file.path().filename().string(), kState) &&
        (keep.empty() || !file.path().filename().string().starts_with(keep.stem().string())))
      gone.push_back(file.path());
  for (const fs::path& path : gone) fs::remove_all(path);
}

// Of a pruned model by what was cut and not by why: runs whose protections changed nothing share what follows. A
// residue takes the place of channels that are not protected.
std::string KeyOfPruned(const RunState& state, Json inputs) {
  const Json plan = ReadJson(state.folder() / PruneStep().Plan());
  inputs["plan"] = {plan.at("blocks"), plan.value("residual_channels", Json())};
  const RecipeEntry& compensate = state.recipe().Entry("prune.compensate");
  if (Registry<Compensator>::Find(compensate.name).info.needs.empty()) inputs.erase("calibrate");
  if (Registry<Compensator>::Create(compensate.name, compensate.options)->Residue())
    inputs["protected"] = plan.at("protected_units");
  return HashText("pruned" + inputs.dump());
}

Json PlanFacts(const Plan& plan) {
  return {{"requested", plan.requested_share},
          {"achieved", plan.achieved_share},
          {"protected", plan.protected_units.size()}};
}

}  // namespace

bool NeedsFromStatistics(const Recipe& recipe, std::string_view what) {
  const std::vector<std::string> also = recipe.Entry("data.calibration").options.TextList("also");
  if (std::find(also.begin(), also.end(), what) != also.end()) return true;
  if (recipe.Entry("prune.allocate").options.Int("swaps") > 0 && what == "products") return true;
  for (const RecipeEntry& entry : recipe.List("protect"))
    if (Needs(Registry<ProtectionRule>::Find(entry.name).info, what)) return true;
  return Needs(Registry<Scorer>::Find(recipe.Entry("prune.score").name).info, what) ||
         Needs(Registry<Compensator>::Find(recipe.Entry("prune.compensate").name).info, what);
}

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

std::string CalibrateStage(RunState& state, const PruneStep& step, const std::string& previous_key) {
  const fs::path output = state.folder() / step.Statistics();
  const Options& recipe = state.recipe().Entry("data.calibration").options;
  CalibrateOptions options;
  options.tokens = ParseTokenWeighting(recipe.Text("tokens"));
  options.outlier_ratio = recipe.Real("outlier_ratio");
  options.gradient_tokens = recipe.Int("gradient_tokens");
  options.targets = {ParseLossTargets(recipe.Text("gradient_targets")), state.seed()};
  options.matmul = ParseMatmul(recipe.Text("matmul"), state.device());
  Json needs = Json::array();
  for (const StatisticsNeed& need : kStatisticsNeeds) {
    if (need.option == nullptr || !NeedsFromStatistics(state.recipe(), need.name)) continue;
    options.*need.option = true;
    needs.push_back(need.name);
  }
  const bool runs_backward = options.gradients || options.gradient_products || options.weight_gradients;
  // The first step's is that of a run without steps.
  const Json inputs = {{"data", CalibrationData(state)},
                       {"model", previous_key},
                       {"tokens", TokenWeightingName(options.tokens)},
                       {"outlier_ratio", options.outlier_ratio},
                       {"needs", needs},
                       {"matmul", DtypeName(options.matmul)},
                       {"gradient_tokens", runs_backward ? options.gradient_tokens : 0},
                       {"gradient_targets", runs_backward ? LossTargetsName(options.targets.targets) : ""}};
  return state.Stage(
      step.number == 1 ? "calibrate" : step.Stage("calibrate"), inputs, output,
      [&]() -> Json {
        const at::Tensor windows = state.CalibrationWindows();
        options.scratch = output.parent_path();
        fs::create_directories(options.scratch);
        CalibrateTogether(state, step.Input(), windows, options, output);
        return {{"tokens", windows.numel()}};
      },
      Seeded::kYes, Ranks::kAll);
}

std::string PlanStage(RunState& state, const PruneStep& step, const std::string& analyze_key,
                      const std::string& calibrate_key, const std::string& previous_key) {
  const Recipe& recipe = state.recipe();
  const RecipeEntry &score = recipe.Entry("prune.score"), &allocate = recipe.Entry("prune.allocate");
  const fs::path output = state.folder() / step.Plan();
  const RecipeEntry& compensate = recipe.Entry("prune.compensate");
  const bool tries = Needs(Registry<Allocator>::Find(allocate.name).info, "windows");
  // Of compensation a plan counts what it adds to the model; an allocator that tries plans sees all that it does.
  const bool residue = Registry<Compensator>::Create(compensate.name, compensate.options)->Residue().has_value();
  const bool runs_model = tries || Needs(Registry<Scorer>::Find(score.name).info, "windows");
  const Json inputs = {{"analyze", analyze_key},
                       {"step", {step.number, step.of}},
                       {"previous", previous_key},
                       {"windows", runs_model ? CalibrationData(state) : Json()},
                       {"calibrate", calibrate_key},
                       {"protect", ListJson(recipe.List("protect"))},
                       {"units", recipe.Entry("prune").options.ToJson()},
                       {"score", EntryJson(score)},
                       {"budget", recipe.Entry("prune.budget").options.ToJson()},
                       {"allocate", EntryJson(allocate)},
                       {"compensate", tries ? EntryJson(compensate) : Json{compensate.name, residue}}};
  return state.Stage(step.Stage("plan"), inputs, output, [&]() -> Json {
    const Model& model = state.ModelNamed(step.Input());
    PlanOptions options = PlanOptionsFrom(recipe);
    if (options.budget_of == kTimeMeasure)  // all steps by one measurement
      options.timing =
          step.number == 1 ? MeasureTiming(state.dense()) : ReadPlan(state, PruneStep{1, step.of}.Plan()).timing;
    TakeStep(state.dense(), model, step, options);
    if (runs_model) options.windows = state.CalibrationWindows();
    std::optional<Statistics> statistics;
    if (NeedsStatistics(recipe)) statistics = LoadStatistics(state.folder() / step.Statistics());
    options.prune = [&](const Plan& trial) { return Trial(recipe, model, statistics, trial); };
    Plan plan =
        MakePlan(model, statistics ? &*statistics : nullptr, *Registry<Scorer>::Create(score.name, score.options),
                 *Registry<Allocator>::Create(allocate.name, allocate.options), ProtectionsOf(state, step), options);
    plan.model_sha256 = state.base().at("model").get<std::string>();
    WriteJson(output, PlanToJson(plan));
    return PlanFacts(plan);
  });
}

std::string ComposeStage(RunState& state, int64_t steps, const std::vector<std::string>& plan_keys) {
  const fs::path output = state.folder() / "plan.json";
  return state.Stage("plan", {{"steps", plan_keys}}, output, [&]() -> Json {
    Plan plan = PlanOfSteps(state, steps, steps);
    plan.requested_share = state.recipe().Entry("prune.budget").options.Real("remove");
    WriteJson(output, PlanToJson(plan));
    return PlanFacts(plan);
  });
}

std::string PruneStage(RunState& state, const PruneStep& step, const std::string& plan_key,
                       const std::string& calibrate_key) {
  const RecipeEntry& compensate = state.recipe().Entry("prune.compensate");
  const Json inputs = {{"plan", plan_key}, {"calibrate", calibrate_key}, {"compensate", EntryJson(compensate)}};
  const std::string name = step.Last() ? "prune" : step.Stage("prune");
  const std::string key = state.Stage(name, inputs, state.ModelPath(step.Output()), [&]() -> Json {
    const Model& model = state.ModelNamed(step.Input());
    const Plan plan = ReadPlan(state, step.Plan());
    Model cut = Cut(model, plan);
    const double limit = state.dtype() == at::kFloat ? kMaskEqualsCut : kMaskEqualsCutBfloat16;
    const double difference = CheckCutEqualsMask(cut, Mask(model, plan), CheckIds(state), limit);
    LogInfo("self-check: the cut model's logits equal the masked model's within {:.1e} (relative)", difference);
    CompensateCut(state, model, plan, step.Statistics(), cut);
    if (CountBlockParameters(cut) != plan.pruned.block_parameters)
      throw InternalError(fmt::format("the pruned model has {} block parameters, the plan says {}",
                                      CountBlockParameters(cut), plan.pruned.block_parameters));
    SaveAndReload(state, cut, step.Output());
    return {{"mask_equals_cut", difference}, {"mask_equals_cut_limit", limit}};
  });
  const bool planned = state.IsFinished("plan", plan_key) && fs::exists(state.folder() / step.Plan());
  const std::string made = step.of == 1 && planned && !state.asks_for_keys() ? KeyOfPruned(state, inputs) : key;
  if (step.Last()) state.HasPruned(made);
  return made;
}

std::string HealStage(RunState& state, const std::string& prune_key) {
  const RecipeEntry& entry = state.recipe().Entry("heal");
  Json texts = Json::array();
  for (const HealingText& text : state.HealingTexts())
    texts.push_back({{"corpus", text.sha256}, {"weight", text.weight}});
  const Json inputs = {{"prune", prune_key}, {"texts", texts}, {"heal", EntryJson(entry)}};
  // The name carries the inputs: the state of another healing is never taken for this one's.
  const fs::path unfinished =
      state.folder() / fmt::format("heal-{}.safetensors", HashText(state.base().dump() + inputs.dump()).substr(0, 16));
  bool finished = false;
  const auto body = [&]() -> Json {
    HealOptions options = HealOptionsFrom(entry.options, state.seed(), state.device());
    options.comm = &state.comm();
    OnLeader(state.comm(), [&] { RemoveHealingStates(state.folder(), unfinished); });
    std::vector<TrainingText> training;
    for (const HealingText& text : state.HealingTexts())
      training.push_back({text.corpus != nullptr
                              ? PackWindows(state.tokenizer(), *text.corpus, 0, options.length, state.seed())
                              : WindowsOfIds(text.source.path, options.length, state.dense().config.V),
                          text.weight});
    const HealResult healed =
        Heal(state.ModelNamed("pruned"), training, *Registry<HealingMethod>::Create(entry.name, entry.options), options,
             unfinished, options.NeedsTeacher() ? &state.dense() : nullptr);
    OnLeader(state.comm(), [&] {
      WriteJson(state.folder() / "heal.json", CurveJson(healed.curve));
      SaveAndReload(state, healed.model, "healed");
      finished = true;
    });
    Json facts = {{"steps", healed.curve.loss.size()}};
    if (!healed.curve.validation_loss.empty())
      facts["validation_loss"] = {healed.curve.validation_loss.front(), healed.curve.validation_loss.back()};
    return facts;
  };
  const std::string key = state.Stage("heal", inputs, state.ModelPath("healed"), body, Seeded::kYes, Ranks::kAll);
  if (finished) RemoveHealingStates(state.folder(), {});  // only now that the manifest has the stage
  return key;
}

namespace {

// One evaluator, by all ranks where it divides its work: those after the first write to a folder that goes with them.
void Evaluate(RunState& state, const RecipeEntry& entry, const std::string& model_name, const fs::path& folder,
              Json& facts) {
  const auto evaluator = Registry<Evaluator>::Create(entry.name, entry.options);
  Comm& comm = state.comm();
  const RankFolder own(comm, folder);
  const auto run = [&](Comm* together) {
    EvaluationInput input{
        state.ModelNamed(model_name), state.tokenizer(), model_name, own.path(), std::nullopt, nullptr, together};
    if (model_name != "dense") input.dense = state.folder() / "evaluate" / "dense";
    if (evaluator->NeedsBase() && model_name != "dense") input.base = &state.dense();
    const Results results = evaluator->Run(input);
    if (!comm.Leads()) return;
    WriteJson(folder / (results.id + ".json"), ResultsToJson(results));
    facts[results.id] = results.metrics.empty() ? 0.0 : results.metrics.front().value;
  };
  if (evaluator->Shares() && comm.size() > 1)
    run(&comm);
  else
    OnLeader(comm, [&] { run(nullptr); });
}

}  // namespace

std::string EvaluateStage(RunState& state, const std::string& model_name, const std::string& model_key,
                          const std::string& dense_key) {
  const fs::path folder = state.folder() / "evaluate" / model_name;
  Json texts = Json::array();
  for (const RecipeEntry& entry : state.recipe().List("evaluate")) {
    const auto evaluator = Registry<Evaluator>::Create(entry.name, entry.options);
    const auto text = evaluator->Text();
    texts.push_back(text ? state.EvaluationCorpus(*text).sha256 : "");
    for (const fs::path& file : evaluator->Files()) texts.push_back(state.HashOf(file));
  }
  const Json inputs = {{"model", model_key},
                       {"dense", dense_key},
                       {"evaluate", ListJson(state.recipe().List("evaluate"))},
                       {"texts", texts}};
  return state.Stage(
      "evaluate." + model_name, inputs, folder,
      [&]() -> Json {
        fs::create_directories(folder);  // also when there is nothing to evaluate: the stage is finished then
        Json facts = Json::object();
        for (const RecipeEntry& entry : state.recipe().List("evaluate"))
          Evaluate(state, entry, model_name, folder, facts);
        return facts;
      },
      Seeded::kNo, Ranks::kAll);
}

}  // namespace espalier
