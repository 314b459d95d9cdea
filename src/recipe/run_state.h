#pragma once
// What the stages of one run share: the recipe, the folder, and models and texts that are loaded when first asked for.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "espalier/core/files.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/io/text.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/model.h"
#include "espalier/recipe/recipe.h"
#include "espalier/recipe/run.h"
#include "input_cache.h"
#include "manifest.h"
#include "shared_store.h"

namespace espalier {

// What a run has in common with the other runs of a sweep; a run alone has none of it.
struct Sharing {
  std::shared_ptr<InputCache> inputs;
  std::shared_ptr<const SharedStore> store;
  std::set<std::string> common;  // keys that several runs have
  bool silent = false;           // a dry run that only asks for keys: the same before and after the stages have run
};

// Whether a stage's key has the seed in it. Evaluation draws nothing, so that runs with several seeds share it.
enum class Seeded { kYes, kNo };
// Who runs a stage's body where several processes run the recipe: rank 0 while the others wait, or all of them. Facts
// and whatever stays are rank 0's.
enum class Ranks { kFirst, kAll };

// One of the equal shares in which prune.schedule takes the budget: calibrate, plan, prune, on what the step before
// left.
struct PruneStep {
  int64_t number = 1, of = 1;
  bool Last() const { return number == of; }
  std::string Input() const;                         // the model that is pruned: "dense", then "step-1"
  std::string Output() const;                        // "step-1", in the end "pruned"
  std::string Stage(const std::string& name) const;  // "plan.1"; "plan" without steps
  std::filesystem::path Statistics() const;          // in the run's folder
  std::filesystem::path Plan() const;
};

struct HealingText {
  TextSource source;
  double weight = 1;
  const Corpus* corpus = nullptr;  // null: the source has ids, not documents
  std::string sha256;
};

class RunState {
 public:
  RunState(const Recipe& recipe, const RunOptions& options, Sharing sharing = {});

  const Recipe& recipe() const { return recipe_; }
  const std::filesystem::path& folder() const { return folder_; }
  Manifest& manifest() { return manifest_; }
  uint64_t seed() const;
  at::ScalarType dtype() const;
  at::Device device() const { return device_; }

  const Tokenizer& tokenizer();
  const Model& dense();
  // "dense", or the checkpoint that a stage wrote ("pruned", "healed").
  const Model& ModelNamed(const std::string& name);
  bool Holds(const std::string& name) const { return models_.contains(name); }  // in memory
  // A stage hands over what it has just written and checked, so that it is not read again.
  void KeepModel(const std::string& name, Model model);
  void ForgetModel(const std::string& name) { models_.erase(name); }  // from memory
  std::filesystem::path ModelPath(const std::string& name) const;

  const Corpus& calibration_corpus();
  at::Tensor CalibrationWindows();                           // [sequences, length]
  std::vector<HealingText> HealingTexts();                   // data.healing, then those mixed in
  const Corpus& EvaluationCorpus(const TextSource& source);  // read once a run
  const std::string& HashOf(const std::filesystem::path& file) { return sharing_.inputs->Hash(file); }  // once a run

  // Runs `body` unless this stage is finished under the key of `inputs`; `output` is what must be there then. Returns
  // the key, which later stages put into their inputs. `body` returns facts for the manifest.
  std::string Stage(const std::string& name, const Json& inputs, const std::filesystem::path& output,
                    const std::function<Json()>& body, Seeded seeded = Seeded::kYes, Ranks ranks = Ranks::kFirst);
  // The pruned model of this key is in the folder: what was made of another one is not this run's any more.
  void HasPruned(const std::string& key);
  Comm& comm() const { return *comm_; }
  bool asks_for_keys() const { return sharing_.silent; }
  bool IsFinished(const std::string& stage, const std::string& key) const { return manifest_.IsDone(stage, key); }
  // Of the stages so far, in order: stage and key, and those that have to be computed.
  const std::vector<std::pair<std::string, std::string>>& keys() const { return keys_; }
  const std::vector<std::pair<std::string, std::string>>& pending() const { return pending_; }
  // Key part that every stage has: model, dtype, device, threads, seed, LibTorch, our sources.
  const Json& base() const { return *base_; }

 private:
  void SetThreads() const;
  void MakeBase();
  bool IsShared(const std::string& stage, const std::string& key) const;
  bool Adopt(const std::string& stage, const std::string& key, const std::filesystem::path& output);

  const Recipe& recipe_;
  RunOptions options_;
  std::unique_ptr<Comm> alone_ = SingleProcess();
  Comm* comm_;
  Sharing sharing_;
  at::Device device_;
  std::filesystem::path folder_;
  std::unique_ptr<FileLock> lock_;  // of rank 0
  Manifest manifest_;
  std::shared_ptr<Json> base_;
  std::map<std::string, Model> models_;  // that stages wrote
  std::vector<std::pair<std::string, std::string>> keys_, pending_;
};

std::filesystem::path RunFolder(const Recipe& recipe);
// recipe.yaml of a run or sweep: every default written out, with the name of `folder`, so that it repeats the run.
void WriteResolvedRecipe(const Recipe& recipe, const std::filesystem::path& folder);
// RecipeError when calibration or healing text holds a document of an evaluation text and the recipe does not allow it;
// otherwise a line for each leak, to be shown by every report.
std::vector<std::string> CheckLeaks(RunState& state);

// All stages that `options` asks for. A dry run goes through them for their keys alone.
RunOutcome RunStages(RunState& state, const RunOptions& options);

// RecipeError at once, and not after calibration: the scorer has no score for a kind of unit that may go or learns for
// another budget, the compensation cannot be done with what may go.
void CheckPruning(const Recipe& recipe);

// RecipeError when a gate judges what nothing will measure.
void CheckGates(const Recipe& recipe);

// The stages, in order. Each returns its key.
std::string AnalyzeStage(RunState& state, const std::string& model_name, const std::string& model_key);
std::string CalibrateStage(RunState& state, const PruneStep& step, const std::string& previous_key);
std::string PlanStage(RunState& state, const PruneStep& step, const std::string& analyze_key,
                      const std::string& calibrate_key, const std::string& previous_key);
// plan.json from the plans of all steps.
std::string ComposeStage(RunState& state, int64_t steps, const std::vector<std::string>& plan_keys);
std::string PruneStage(RunState& state, const PruneStep& step, const std::string& plan_key,
                       const std::string& calibrate_key);
std::string HealStage(RunState& state, const std::string& prune_key);
std::string EvaluateStage(RunState& state, const std::string& model_name, const std::string& model_key,
                          const std::string& dense_key);
RunOutcome ReportStage(RunState& state, const std::vector<std::string>& models, const std::vector<std::string>& leaks);
// Does nothing when the recipe has no `export`.
void ExportStage(RunState& state, const std::string& model_name, const std::string& model_key);

// Whether the recipe's scorer, compensator or a protection rule reads statistics.
bool NeedsStatistics(const Recipe& recipe);
// Whether anything in the recipe declares `what` ("products") among what it reads of statistics.
bool NeedsFromStatistics(const Recipe& recipe, std::string_view what);

}  // namespace espalier
