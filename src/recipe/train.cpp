#include "espalier/recipe/train.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/hash.h"
#include "espalier/core/log.h"
#include "espalier/core/version.h"
#include "espalier/model/initialize.h"
#include "espalier/model/load.h"
#include "espalier/model/precision.h"
#include "espalier/report/training.h"
#include "run_state.h"
#include "train_setup.h"
#include "variant_names.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCellFile = "cell.json";  // of a finished cell; written last
constexpr const char* kOpenFile = "open.json";  // of one that has begun: what its checkpoint belongs to

struct Variant {
  std::string name;
  std::vector<std::string> set;
  Recipe recipe;
  ModelConfig config;
};

// What must be the same for all that is compared.
void CheckReserved(const Recipe& base, const Recipe& variant) {
  const auto check = [&](const char* section, const std::string& key) {
    if (base.Entry(section).options.Value(key) != variant.Entry(section).options.Value(key))
      throw RecipeError(
          fmt::format("a variant cannot change {}{}{}; set it for all", section, *section == '\0' ? "" : ".", key));
  };
  for (const OptionSpec& option : base.Entry("").options.specs()) check("", option.name);
  for (const OptionSpec& option : base.Entry("data").options.specs()) check("data", option.name);
  for (const OptionSpec& option : base.Entry("analyze").options.specs()) check("analyze", option.name);
  for (const char* key : {"length", "validation_windows"}) check("train", key);
}

std::vector<Variant> VariantsOf(const Recipe& recipe, int64_t vocabulary) {
  std::vector<Variant> variants;
  std::vector<std::string> mistakes;
  std::set<std::string> names;
  const auto add = [&](const std::string& name, const std::vector<std::string>& set, const std::string& where) {
    try {
      if (const std::string mistake = MistakeOfName(name); !mistake.empty()) throw RecipeError(mistake);
      if (!names.insert(name).second) throw RecipeError(fmt::format("two variants are named '{}'", name));
      Recipe own = recipe.With(set);
      CheckReserved(recipe, own);
      const ModelConfig config = ConfigOf(own, vocabulary);
      HealOptionsOf(own, 0, at::kCPU);  // refuses what is wrong on any device
      variants.push_back({name, set, std::move(own), config});
    } catch (const RecipeError& error) {
      mistakes.push_back(fmt::format("{}: variant {}: {}", where, name, OnOneLine(error.what())));
    }
  };
  for (const RecipeEntry& entry : recipe.List("variants"))
    add(entry.options.Text("name"), entry.options.TextList("set"), recipe.Where(entry));
  if (recipe.List("variants").empty()) add("recipe", {}, recipe.path().string());
  if (!mistakes.empty()) throw RecipeError(fmt::format("{}\nnothing was run.", fmt::join(mistakes, "\n")));
  return variants;
}

// Mean over blocks that have a gate, learned or of sink logits.
double MeanGate(const Phenomena& phenomena) {
  double sum = 0;
  int64_t gates = 0;
  for (const BlockPhenomena& block : phenomena.blocks)
    if (block.gate) sum += block.gate->mean, ++gates;
  return gates > 0 ? sum / static_cast<double>(gates) : std::numeric_limits<double>::quiet_NaN();
}

// Of the weights that were kept.
TrainingRun Figures(const Phenomena& phenomena, const HealCurve& curve, const std::string& keep) {
  TrainingRun run;
  run.loss = keep == "best" ? std::ranges::min(curve.validation_loss) : curve.validation_loss.back();
  run.initial_loss = curve.validation_loss.front();
  run.sink_rate = phenomena.sink_rate;
  run.first_token_mass = phenomena.first_token_mass;
  run.spike = phenomena.LargestResidual();
  for (const BlockPhenomena& block : phenomena.blocks)
    run.spike_ratio = std::max({run.spike_ratio, block.attention.Ratio(), block.ffn.Ratio()});
  run.massive_mean = phenomena.massive_mean;
  run.gate = MeanGate(phenomena);
  run.curve = {curve.tokens, curve.loss, curve.validation_tokens, curve.validation_loss};
  return run;
}

class Runner {
 public:
  Runner(const Recipe& recipe, const TrainRunOptions& options)
      : recipe_(recipe), options_(options), folder_(RunFolder(recipe)), device_(SetUp(recipe)) {
    data_ = MakeTrainData(recipe);
    variants_ = VariantsOf(recipe, data_.tokenizer->vocabulary_size());
    held_out_ = data_.windows.slice(0, -recipe.Entry("train").options.Int("validation_windows"));
    lock_ = std::make_unique<FileLock>(folder_ / ".lock");
    StartReport();
    for (size_t i = 0; i < report_.cells.size(); ++i) TakeFinished(i);
  }

  TrainOutcome Run() {
    TrainOutcome outcome{folder_, std::nullopt, "", report_.cells.size(), 0};
    if (options_.dry_run) {
      outcome.table = Listing();
      return outcome;
    }
    WriteResolvedRecipe(recipe_, folder_);
    LogToFile(folder_ / "log.jsonl");
    for (size_t i = 0; i < report_.cells.size(); ++i)
      if (report_.cells[i].state == TrainingState::kOpen) RunCell(i);
    WriteReports();
    outcome.failed = Count(TrainingState::kFailed);
    outcome.table = RenderTrainingTable(report_);
    outcome.report = folder_ / "training.html";
    return outcome;
  }

 private:
  // Before the first tensor: later changes do not reach threads that already worked.
  static at::Device SetUp(const Recipe& recipe) {
    const Options& run = recipe.Entry("").options;
    if (run.Int("threads") > 0) at::set_num_threads(static_cast<int>(run.Int("threads")));
    UseFasterFloat32Products();
    return ParseDevice(run.Text("device"));
  }

  void StartReport() {
    const Options &run = recipe_.Entry("").options, &train = recipe_.Entry("train").options;
    const AnalyzeOptions analyze = AnalyzeOptionsOf(recipe_);
    report_.name = folder_.filename().string();
    report_.question = run.Has("question") ? run.Text("question") : "";
    report_.data = data_.description;
    report_.tokens = train.Int("tokens"), report_.length = train.Int("length");
    report_.optimal_loss = data_.optimal_loss;
    report_.sink_epsilon = analyze.sink_epsilon, report_.sink_length = analyze.sink_length;
    report_.seeds = run.IntList("seeds");
    report_.learning_rates = {train.Real("learning_rate")};
    if (recipe_.Has("probe")) report_.learning_rates = recipe_.Entry("probe").options.RealList("learning_rates");
    if (report_.seeds.empty() || report_.learning_rates.empty())
      throw RecipeError(recipe_.path().string() + ": seeds and probe.learning_rates: expected at least one of each");
    if (report_.length < analyze.sink_length)
      throw RecipeError(fmt::format("{}: train.length is {}; expected at least analyze.sink_length, {}",
                                    recipe_.path().string(), report_.length, analyze.sink_length));
    for (const Variant& variant : variants_)
      report_.variants.push_back({variant.name, variant.set, CountParameters(variant.config)});
    for (const double rate : report_.learning_rates)
      for (const int64_t seed : report_.seeds)
        for (const Variant& variant : variants_) AddCell(variant, seed, rate);
    report_.provenance = {{"espalier", fmt::format("{}, revision {}", Version(), Revision())},
                          {"libtorch", TORCH_VERSION},
                          {"device", device_.str()},
                          {"threads", std::to_string(at::get_num_threads())},
                          {"recipe", recipe_.path().string()},
                          {"text sha256", data_.sha256},
                          {"held-out windows", std::to_string(held_out_.size(0))}};
  }

  void AddCell(const Variant& variant, int64_t seed, double rate) {
    const bool probe = report_.learning_rates.size() > 1;
    const double own = probe ? rate : variant.recipe.Entry("train").options.Real("learning_rate");
    std::string name = fmt::format("{}-seed{}", variant.name, seed);
    if (probe) name += fmt::format("-rate{:g}", rate);
    report_.cells.push_back({variant.name, seed, own, "cells/" + name, TrainingState::kOpen, "", std::nullopt});
  }

  const Variant& VariantOf(size_t i) const {
    return *std::ranges::find(variants_, report_.cells[i].variant, &Variant::name);
  }
  fs::path CellFolder(size_t i) const { return folder_ / report_.cells[i].folder; }

  // Everything that a cell's figures depend on.
  std::string CellKey(size_t i) const {
    Json key = {{"seed", report_.cells[i].seed}, {"learning_rate", report_.cells[i].learning_rate},
                {"text", data_.sha256},          {"threads", at::get_num_threads()},
                {"device", device_.str()},       {"libtorch", TORCH_VERSION},
                {"sources", SourceHash()}};
    for (const char* section : {"model", "data", "train", "analyze"})
      key[section] = VariantOf(i).recipe.Entry(section).options.ToJson();
    return HashText(key.dump());
  }

  void TakeFinished(size_t i) {
    const fs::path file = CellFolder(i) / kCellFile;
    if (!fs::exists(file)) return;
    try {
      const Json json = ReadJson(file);
      if (json.value("key", "") != CellKey(i)) return;
      report_.cells[i] = TrainingCellFromJson(json.at("cell"), file.string());
    } catch (const std::exception& error) {  // whatever is in a file that somebody changed
      LogWarning("{}: {}; the cell is trained again", file.string(), OnOneLine(error.what()));
    }
  }

  // A checkpoint of another recipe or other code is not gone on from.
  void Begin(size_t i) const {
    const fs::path folder = CellFolder(i), file = folder / kOpenFile;
    const Json mine = {{"key", CellKey(i)}};
    if (fs::exists(file) && ReadJson(file) == mine) return;
    fs::remove_all(folder);
    WriteJson(file, mine);
  }

  void RunCell(size_t i) {
    TrainingCell& cell = report_.cells[i];
    LogInfo("cell {} of {}: {}", i + 1, report_.cells.size(), fs::path(cell.folder).filename().string());
    try {
      Begin(i);
      Train(i);
    } catch (const Interrupted&) {
      throw;
    } catch (const NumericError& error) {
      cell.state = TrainingState::kDiverged;
      cell.error = OnOneLine(error.what());
    } catch (const c10::Error& error) {
      cell.state = TrainingState::kFailed;
      cell.error = OnOneLine(error.what_without_backtrace());
    } catch (const std::exception& error) {
      cell.state = TrainingState::kFailed;
      cell.error = OnOneLine(error.what());
    }
    if (cell.state != TrainingState::kFailed) {
      WriteJson(CellFolder(i) / kCellFile,
                {{"schema", "espalier.training-cell/1"}, {"key", CellKey(i)}, {"cell", TrainingCellToJson(cell)}});
      RemoveHealState(StatePath(i));
    } else {
      LogWarning("{} failed: {}", cell.folder, cell.error);
    }
    WriteReports();
  }

  fs::path StatePath(size_t i) const { return CellFolder(i) / "state.safetensors"; }

  void Train(size_t i) {
    TrainingCell& cell = report_.cells[i];
    const Variant& variant = VariantOf(i);
    const auto seed = static_cast<uint64_t>(cell.seed);
    HealOptions options = HealOptionsOf(variant.recipe, seed, device_);
    options.learning_rate = cell.learning_rate;
    options.title = fs::path(cell.folder).filename().string();
    const auto full = Registry<HealingMethod>::Create("full", Options({BoolOption("embedding", true, "")}));
    const auto start = std::chrono::steady_clock::now();
    const Model untrained = CopyModel(NewModel(variant.config, seed), at::kFloat, device_);
    const HealResult result = Heal(untrained, data_.windows, *full, options, StatePath(i));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const Phenomena phenomena = Analyze(result.model, held_out_, AnalyzeOptionsOf(variant.recipe), options.title);
    WriteJson(CellFolder(i) / "phenomena.json", PhenomenaToJson(phenomena));
    SaveModel(result.model, *data_.tokenizer, CellFolder(i) / "model");
    cell.run = Figures(phenomena, result.curve, options.keep);
    cell.run->seconds = seconds.count();
    const bool learned = cell.run->loss <= cell.run->initial_loss;
    cell.state = learned ? TrainingState::kFinished : TrainingState::kDiverged;
    if (!learned) {
      cell.error = fmt::format("the loss ended at {:.3f}, above {:.3f} of the untrained model", cell.run->loss,
                               cell.run->initial_loss);
      cell.run.reset();
    }
  }

  void WriteReports() const {
    WriteJson(folder_ / "training.json", TrainingToJson(report_));
    WriteFile(folder_ / "training.md", RenderTrainingMarkdown(report_));
    WriteFile(folder_ / "training.html", RenderTrainingHtml(report_));
  }

  std::string Listing() const {
    std::string text;
    for (const TrainingCell& cell : report_.cells)
      text += fmt::format("{:<48}  {}\n", fs::path(cell.folder).filename().string(),
                          cell.state == TrainingState::kOpen ? "to do" : "finished");
    const size_t open = Count(TrainingState::kOpen);
    return text +
           fmt::format("{} cells, {} finished, {} to do\n", report_.cells.size(), report_.cells.size() - open, open);
  }

  size_t Count(TrainingState state) const {
    return static_cast<size_t>(std::ranges::count(report_.cells, state, &TrainingCell::state));
  }

  const Recipe& recipe_;
  TrainRunOptions options_;
  fs::path folder_;
  at::Device device_;
  TrainData data_;
  std::vector<Variant> variants_;
  at::Tensor held_out_;
  std::unique_ptr<FileLock> lock_;
  TrainingReport report_;
};

}  // namespace

TrainOutcome RunTraining(const Recipe& recipe, const TrainRunOptions& options) {
  return Runner(recipe, options).Run();
}

}  // namespace espalier
