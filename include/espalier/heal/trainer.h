#pragma once
// Fine-tunes a pruned model on token windows; killed at any moment it goes on bitwise where its last checkpoint was.
#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <string>
#include <vector>

#include "espalier/core/options.h"
#include "espalier/heal/method.h"
#include "espalier/model/loss.h"

namespace espalier {

class Comm;

struct HealOptions {
  int64_t tokens = 0;               // to train on; steps = tokens / (batch * length)
  int64_t batch = 4;                // windows a step
  int64_t micro_batch = 0;          // windows that run together, their gradients summed; 0: the whole batch
  int64_t length = 512;             // tokens a window
  double learning_rate = 0;         // peak
  std::string schedule = "cosine";  // after the warm-up: cosine, linear, or wsd (constant, then down in decay_share)
  double decay_share = 0.2;         // wsd: last share of the steps
  double final_share = 0.1;         // of the peak, at the end of the cosine
  double warmup_share = 0.1;        // of the steps
  double weight_decay = 0;
  double clip = 1.0;  // largest gradient norm
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  int64_t validation_windows = 8;  // held out of the text
  int64_t validations = 2;         // after the start, evenly; the last one at the end
  std::string keep = "last";       // or "best": the weights of the best held-out loss
  int64_t patience = 0;            // validations in a row without a better loss that end the training; 0: none do
  int64_t retries = 0;             // how often an exploding loss leads back to the last checkpoint, at half the rate
  bool checkpoint_activations = true;
  c10::ScalarType matmul = at::kFloat;  // of the passes' products; weights, sums and the optimizer stay float32
  double save_seconds = 60;             // between checkpoints
  int64_t checkpoints = 2;              // how many of the last stay on disk until the end
  uint64_t seed = 0;
  // Predictions that are trained on, counted from 1: the p-th sees p tokens (arXiv 2603.05498, Table 8). 0: the last.
  // The held-out loss is of all.
  int64_t first_position = 1, last_position = 0;
  std::string title = "heal";  // of the progress line
  // What is learned: next token of the text, logits and last hidden states of the teacher, each with its weight.
  TokenLossWeights token;
  bool teacher_cache = false;  // keep the teacher's token.top likeliest tokens on disk
  double hidden = 0;  // of the squared error of the states after the final norm, over the teacher's mean square
  // Before that, each block alone on so many tokens, fitted to the dense model's block; 0: not.
  int64_t local_tokens = 0;
  double local_rate = 1e-4;  // peak
  // The processes that train together; null: this one alone. Each takes its share of a step's windows, gradients are
  // added up, and rank 0 alone writes: the losses are those of one process but for rounding. RecipeError for
  // local_tokens and teacher_cache, which are one process's, and for fewer windows a step than processes.
  Comm* comm = nullptr;
  // Each of them holds the optimizer's sums of its part of the parameters only (ZeRO stage 1, arXiv 1910.02054); the
  // same steps to the bit. Nothing for one process.
  bool shard_optimizer = false;
  bool LearnsFromTeacher() const { return token.logits > 0 || hidden > 0; }
  bool NeedsTeacher() const { return LearnsFromTeacher() || local_tokens > 0; }
  bool IsSharded() const;
};
// The recipe options that every healing method takes, and the struct from them, for a model on `device`.
std::vector<OptionSpec> HealRecipeOptions();
HealOptions HealOptionsFrom(const Options& options, uint64_t seed, c10::Device device = at::kCPU);

// One of the texts that are trained on: windows [S, length] int64, and how many samples it gives beside the others.
struct TrainingText {
  at::Tensor windows;
  double weight = 1;
};

struct HealCurve {
  std::vector<int64_t> tokens;
  std::vector<double> loss;
  std::vector<int64_t> validation_tokens;
  std::vector<double> validation_loss;
  // Of the blocks alone, where they were fitted: the mean relative squared error of their output.
  std::vector<double> local_before, local_after;
};

struct HealResult {
  Model model;      // merged, no gradients
  HealCurve curve;  // loss before each step; validation at the start and in between
};

// Where the blocks that were fitted alone are kept until all are.
std::filesystem::path BlocksState(const std::filesystem::path& state);
// Where the teacher's predictions are kept, beside the state: whoever deletes the one deletes the other.
std::filesystem::path TeacherFolder(const std::filesystem::path& state);

// Removes a finished training's state: its checkpoints and what is kept beside them.
void RemoveHealState(const std::filesystem::path& state);

// `teacher`: the dense model, of the same vocabulary and width; may be null where nothing needs it.
// Trains a copy of `model`; the last `validation_windows` windows of each text are held out. The state
// goes to `state` (a file) every save_seconds and when interrupted, older ones to state.1 and so on; when one is there
// and fits, training goes on from the newest that does. metrics.jsonl and TensorBoard's events go to a folder
// `training` beside it. NumericError when the loss or the gradient's norm is not finite or the loss exceeds ten times
// the first (the last good state stays on disk).
HealResult Heal(const Model& model, const std::vector<TrainingText>& texts, const HealingMethod& method,
                const HealOptions& options, const std::filesystem::path& state, const Model* teacher = nullptr);
HealResult Heal(const Model& model, const at::Tensor& windows, const HealingMethod& method, const HealOptions& options,
                const std::filesystem::path& state, const Model* teacher = nullptr);

// Learning rate of a step: linear warm-up, then by the schedule to final_share. WSD: Hu et al. 2024, arXiv 2404.06395.
double LearningRate(const HealOptions& options, int64_t step, int64_t steps);

}  // namespace espalier
