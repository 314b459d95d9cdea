#include "run_state.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "espalier/calibrate/windows.h"
#include "espalier/comm/share.h"
#include "espalier/core/error.h"
#include "espalier/core/hash.h"
#include "espalier/core/log.h"
#include "espalier/core/memory.h"
#include "espalier/core/signals.h"
#include "espalier/core/version.h"
#include "espalier/evaluate/gate.h"
#include "espalier/model/load.h"
#include "espalier/model/precision.h"
#include "espalier/score/scorer.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::string Now() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

// What a user can lower so that a stage of this name needs less.
const char* LowerFor(std::string_view stage) {
  if (stage.starts_with("heal"))
    return "lower heal.batch or heal.length, set heal.checkpoint_activations=true, or heal with lora";
  if (stage.starts_with("calibrate")) return "lower data.calibration.length, or sequences and gradient_tokens";
  if (stage.starts_with("analyze")) return "lower analyze.tokens or analyze.length";
  if (stage.starts_with("evaluate")) return "lower the windows' length, or evaluate fewer models at once";
  return "lower data.calibration.sequences";
}

// The stage's work; an allocation that fails becomes a line that says what to change.
Json SayingWhatToLower(const std::string& stage, const std::function<Json()>& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    if (!IsOutOfMemory(error)) throw;
    throw MemoryError(fmt::format("{}: out of memory at {}; {}; finished stages are kept", stage,
                                  FormatBytes(static_cast<double>(PeakMemory())), LowerFor(stage)));
  }
}

}  // namespace

fs::path RunFolder(const Recipe& recipe) {
  const Options& run = recipe.Entry("").options;
  std::string name;
  if (run.Has("name"))
    name = run.Text("name");
  else
    name = fmt::format("{}-{}", fs::absolute(recipe.path()).parent_path().filename().string(),
                       recipe.path().stem().string());
  if (name.empty() || name.find('/') != std::string::npos || name.starts_with('.'))
    throw RecipeError(fmt::format("name: '{}': expected a plain folder name", name));
  return fs::path(run.Text("runs")) / name;
}

void WriteResolvedRecipe(const Recipe& recipe, const fs::path& folder) {
  const bool named = recipe.Entry("").options.Has("name");
  WriteFile(folder / "recipe.yaml",
            (named ? "" : fmt::format("name: {}\n", folder.filename().string())) + recipe.ToYaml());
}

std::string PruneStep::Input() const {
  return number == 1 ? "dense" : fmt::format("step-{}", number - 1);
}
std::string PruneStep::Output() const {
  return Last() ? "pruned" : fmt::format("step-{}", number);
}
std::string PruneStep::Stage(const std::string& name) const {
  return of == 1 ? name : fmt::format("{}.{}", name, number);
}
// The first step's are those of a run without steps.
fs::path PruneStep::Statistics() const {
  return fs::path("calibrate") /
         (number == 1 ? "statistics.safetensors" : fmt::format("statistics-step-{}.safetensors", number));
}
fs::path PruneStep::Plan() const {
  return of == 1 ? "plan.json" : fmt::format("plan-step-{}.json", number);
}

RunState::RunState(const Recipe& recipe, const RunOptions& options, Sharing sharing)
    : recipe_(recipe),
      options_(options),
      comm_(options.comm != nullptr ? options.comm : alone_.get()),
      sharing_(std::move(sharing)),
      device_(ParseDevice(recipe.Entry("").options.Text("device"))),
      folder_(RunFolder(recipe)),
      lock_(comm_->Leads() ? std::make_unique<FileLock>(folder_ / ".lock") : nullptr),
      manifest_(folder_) {
  if (!sharing_.inputs) sharing_.inputs = std::make_shared<InputCache>();
  SetThreads();
  MakeBase();
  bool forget = false;
  for (const std::string& stage : StageNames()) {
    forget = forget || stage == options.from;
    if (!forget || options.dry_run) continue;
    for (const std::string model : {"", ".dense", ".pruned", ".healed"}) manifest_.Forget(stage + model);
    for (int64_t step = 1; step <= recipe.Entry("prune.schedule").options.Int("steps"); ++step)
      manifest_.Forget(fmt::format("{}.{}", stage, step));
  }
}

uint64_t RunState::seed() const {
  return static_cast<uint64_t>(recipe_.Entry("").options.Int("seed"));
}
at::ScalarType RunState::dtype() const {
  return ParseDtype(recipe_.Entry("model").options.Text("dtype"));
}

// Before the first tensor: later changes do not reach threads that already worked.
void RunState::SetThreads() const {
  const int64_t threads = recipe_.Entry("").options.Int("threads");
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
  UseFasterFloat32Products();
}

void RunState::MakeBase() {
  const fs::path model = recipe_.Entry("model").options.Text("path");
  if (!fs::exists(model))
    throw IoError(fmt::format("{}: model.path: {} does not exist; scripts/setup fetches models/smollm2-135m",
                              recipe_.Where(recipe_.Entry("model")), model.string()));
  WorkTogether(*comm_, [&] { sharing_.inputs->Hash(model); });  // which may take one rank longer than others wait
  base_ = std::make_shared<Json>(Json{{"model", sharing_.inputs->Hash(model)},
                                      {"dtype", recipe_.Entry("model").options.Text("dtype")},
                                      {"device", device_.str()},
                                      {"threads", at::get_num_threads()},
                                      {"seed", seed()},
                                      {"libtorch", TORCH_VERSION},
                                      {"sources", SourceHash()}});
  if (options_.dry_run || !comm_->Leads()) return;
  WriteResolvedRecipe(recipe_, folder_);
  LogToFile(folder_ / "log.jsonl");
  manifest_.SetEnvironment({{"version", Version()},
                            {"revision", Revision()},
                            {"sources_sha256", SourceHash()},
                            {"libtorch", TORCH_VERSION},
                            {"cpu_capability", at::get_cpu_capability()},
                            {"device", device_.str()},
                            {"threads", at::get_num_threads()},
                            {"seed", seed()},
                            {"model_sha256", base_->at("model")},
                            {"recipe", recipe_.path().string()},
                            {"started", Now()}});
}

const Tokenizer& RunState::tokenizer() {
  return sharing_.inputs->TokenizerOf(ModelPath("dense"));
}

fs::path RunState::ModelPath(const std::string& name) const {
  return name == "dense" ? fs::path(recipe_.Entry("model").options.Text("path")) : folder_ / name;
}

const Model& RunState::dense() {
  return ModelNamed("dense");
}

const Model& RunState::ModelNamed(const std::string& name) {
  if (name == "dense") return sharing_.inputs->ModelAt(ModelPath(name), dtype(), device_);
  auto found = models_.find(name);
  if (found == models_.end()) found = models_.emplace(name, LoadModel(ModelPath(name), dtype(), device_)).first;
  return found->second;
}

void RunState::KeepModel(const std::string& name, Model model) {
  models_.insert_or_assign(name, std::move(model));
}

const Corpus& RunState::calibration_corpus() {
  return sharing_.inputs->Text(TextSourceFrom(recipe_.Entry("data.calibration").options));
}

std::vector<HealingText> RunState::HealingTexts() {
  if (!recipe_.Has("data.healing"))
    throw RecipeError(fmt::format("{}: heal needs a text: add data.healing with a path", recipe_.path().string()));
  std::vector<HealingText> texts;
  const auto add = [&](const RecipeEntry& entry) {
    HealingText text{TextSourceFrom(entry.options), entry.options.Real("weight"), nullptr, ""};
    if (text.source.path.extension() == ".safetensors") {
      if (text.source.first_document > 0 || text.source.last_document)
        throw RecipeError(fmt::format("{}: {} has ids, not documents; leave first_document and last_document out",
                                      recipe_.Where(entry), text.source.path.string()));
      text.sha256 = HashOf(text.source.path);
    } else {
      text.corpus = &sharing_.inputs->Text(text.source);
      text.sha256 = text.corpus->sha256;
    }
    texts.push_back(std::move(text));
  };
  add(recipe_.Entry("data.healing"));
  for (const RecipeEntry& entry : recipe_.List("data.healing.mix")) add(entry);
  return texts;
}

const Corpus& RunState::EvaluationCorpus(const TextSource& source) {
  return sharing_.inputs->Text(source);
}

at::Tensor RunState::CalibrationWindows() {
  const Options& options = recipe_.Entry("data.calibration").options;
  return sharing_.inputs->Windows(ModelPath("dense"), TextSourceFrom(options),
                                  {.sequences = options.Int("sequences"),
                                   .length = options.Int("length"),
                                   .spread = options.Text("windows") == "spread",
                                   .seed = seed()});
}

// What is known of the dense model is always stored, for cells that are added later too, and what is measured of a
// pruned one, since only its plan tells whether another cell cuts the same; a pruned model, which is large, only when
// another run has the same key. Healing has state of its own beside its output and is not shared.
bool RunState::IsShared(const std::string& stage, const std::string& key) const {
  if (!sharing_.store || stage == "heal") return false;
  return stage == "calibrate" || stage.ends_with(".dense") || stage.ends_with(".pruned") ||
         sharing_.common.contains(key);
}

bool RunState::Adopt(const std::string& stage, const std::string& key, const fs::path& output) {
  if (!IsShared(stage, key)) return false;
  const std::optional<Json> entry = sharing_.store->Fetch(stage, key, output);
  if (entry) manifest_.Adopt(stage, *entry);
  return entry.has_value();
}

void RunState::HasPruned(const std::string& key) {
  if (options_.dry_run || !comm_->Leads() || manifest_.Pruned() == key) return;
  for (const char* later : {"heal", "analyze.pruned", "analyze.healed", "evaluate.pruned", "evaluate.healed", "export"})
    manifest_.Forget(later);
  manifest_.SetPruned(key);
}

std::string RunState::Stage(const std::string& name, const Json& inputs, const fs::path& output,
                            const std::function<Json()>& body, Seeded seeded, Ranks ranks) {
  Json base = *base_;
  if (seeded == Seeded::kNo) base.erase("seed");
  const std::string key = HashText(name + base.dump() + inputs.dump());
  keys_.emplace_back(name, key);
  const bool done = manifest_.IsDone(name, key) && fs::exists(output);
  if (options_.dry_run) {
    const bool stored = !done && IsShared(name, key) && sharing_.store->Has(name, key);
    if (!done && !stored) pending_.emplace_back(name, key);
    if (!sharing_.silent) LogInfo("{:<20} {}", name, done ? "finished, would be reused" : "would run");
    return key;
  }
  comm_->RequireSame("key of the stage " + name, key);  // recipe, texts, model, sources: whatever it depends on
  // What it left under another key is not this run's once its files are being replaced.
  if (comm_->Leads() && !done) manifest_.Forget(name);
  if (LeaderSays(*comm_, done || (comm_->Leads() && Adopt(name, key, output)))) {
    if (!comm_->Leads()) manifest_.Read();
    LogInfo("{:<20} {}", name, done ? "reused" : "shared");
    return key;
  }
  CheckInterrupt();
  ResetPeakMemory();
  const auto start = std::chrono::steady_clock::now();
  Json facts;
  const auto run = [&] { facts = SayingWhatToLower(name, body); };
  if (ranks == Ranks::kAll)
    run();
  else
    OnLeader(*comm_, run);
  if (comm_->Leads()) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    manifest_.Record(name, key, seconds, facts);
    if (IsShared(name, key)) sharing_.store->Store(name, key, output, manifest_.Entry(name));
    LogInfo("{:<20} {}", name, FormatSeconds(seconds));
  }
  if (LeaderSays(*comm_, true) && !comm_->Leads()) manifest_.Read();  // now that it says so
  return key;
}

}  // namespace espalier
