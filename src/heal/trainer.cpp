#include "espalier/heal/trainer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <numbers>

#include "adamw.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/random.h"
#include "espalier/model/forward.h"
#include "espalier/model/loss.h"
#include "metrics_log.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr double kExplosion = 10;     // times the first loss: nothing comes back from there
constexpr uint64_t kOrderStream = 1;  // of the random numbers; 0 packs the windows

class Trainer {
 public:
  Trainer(const Model& model, const Tensor& windows, const HealingMethod& method, const HealOptions& options,
          std::filesystem::path state, const Model* teacher)
      : teacher_(options.NeedsTeacher() ? teacher : nullptr),
        model_(CopyModel(model, model.dtype(), model.device())),
        windows_(windows),
        options_(options),
        state_(std::move(state)),
        trainables_(method.Attach(model_, options.seed)),
        optimizer_(trainables_, options) {
    if (trainables_.empty())
      throw RecipeError("heal: the method leaves nothing to learn; name at least one role that the model has");
    training_windows_ = windows.size(0) - options.validation_windows;
    steps_ = options.tokens / (options.batch * options.length);
    if (steps_ < 1 || training_windows_ < 1)
      throw RecipeError(fmt::format(
          "heal: {} tokens in {} windows of {} give no step of {} windows; ask for more tokens or more text",
          options.tokens, windows.size(0), options.length, options.batch));
    CheckTeacher();
    rope_ = MakeRope(model_.config, options.length, model_.device(), model_.dtype());
  }

  HealCurve Run() {
    if (std::filesystem::exists(state_)) Load();
    Progress progress("heal", steps_);
    if (step_ > 0) progress.Step(step_, "resumed");
    metrics_ = std::make_unique<MetricsLog>(state_.parent_path() / "training", step_);
    auto saved = std::chrono::steady_clock::now();
    while (step_ < steps_) {
      Validate();
      TrainStep();
      const auto now = std::chrono::steady_clock::now();
      try {
        progress.Step(1, fmt::format("loss {:.3f}, {:.0f} tokens/s", curve_.loss.back(), tokens_per_second_));
      } catch (const Interrupted&) {
        Save();
        throw;
      }
      if (now - saved > std::chrono::duration<double>(options_.save_seconds) && step_ < steps_) {
        Save();
        saved = now;
      }
    }
    Validate();
    return curve_;
  }

  Model& model() { return model_; }

 private:
  // Windows of step `step`: a new order each time the text has been seen once.
  Tensor Batch(int64_t step) const {
    std::vector<int64_t> rows;
    for (int64_t i = step * options_.batch; i < (step + 1) * options_.batch; ++i) {
      const int64_t epoch = i / training_windows_;
      const std::vector<int64_t> order =
          RandomOrder(training_windows_, options_.seed, kOrderStream + static_cast<uint64_t>(epoch));
      rows.push_back(order[static_cast<size_t>(i % training_windows_)]);
    }
    return windows_.index_select(0, at::tensor(rows, at::kLong)).to(model_.device());
  }

  Tensor Hidden(const Tensor& ids) const {
    Tensor h = Embed(model_, ids);
    for (int64_t l = 0; l < model_.config.L(); ++l) {
      const auto block = [this, l](const Tensor& x) { return RunBlock(model_, l, x, rope_); };
      h = options_.checkpoint_activations ? Checkpointed(block, h, trainables_.front().parameter) : block(h);
    }
    return FinalNorm(model_, h);
  }

  void CheckTeacher() const {
    if (!options_.NeedsTeacher()) return;
    ESPALIER_CHECK(teacher_ != nullptr, "a teacher for its logits or hidden states");
    if (teacher_->config.V != model_.config.V || (options_.hidden > 0 && teacher_->config.C != model_.config.C))
      throw RecipeError(
          fmt::format("heal: the teacher predicts {} tokens from {} channels, the model {} from {}; expected the same",
                      teacher_->config.V, teacher_->config.C, model_.config.V, model_.config.C));
  }

  // States that predict, one a row: [B*(T-1), C].
  static Tensor Predicting(const Tensor& hidden) { return hidden.narrow(1, 0, hidden.size(1) - 1).flatten(0, 1); }

  Tensor Loss(const Tensor& ids) const {
    const Tensor hidden = Predicting(Hidden(ids)), targets = ids.slice(1, 1).flatten();
    if (teacher_ == nullptr) return NextTokenLoss(hidden, model_.Head(), targets);
    Tensor taught;
    {
      const at::NoGradGuard no_grad;
      taught = Predicting(HiddenStates(*teacher_, ids));
    }
    const Tensor loss = DistillationLoss(hidden, model_.Head(), targets, taught, teacher_->Head(), options_.token);
    if (options_.hidden == 0) return loss;
    return loss + options_.hidden * (hidden - taught).square().mean() / taught.square().mean();
  }

  // Of the text alone, whatever is learned: comparable between objectives.
  double ValidationLoss(const Tensor& ids) const {
    return NextTokenLoss(Predicting(Hidden(ids)), model_.Head(), ids.slice(1, 1).flatten()).item<double>();
  }

  void TrainStep() {
    const auto start = std::chrono::steady_clock::now();
    const double value = Backward(Batch(step_));
    if (!std::isfinite(value) || (!curve_.loss.empty() && value > kExplosion * curve_.loss.front()))
      throw NumericError(
          fmt::format("heal: the loss is {:.3f} at step {} (it started at {:.3f}); lower heal.learning_rate, now {}",
                      value, step_, curve_.loss.empty() ? value : curve_.loss.front(), options_.learning_rate));
    const double rate = LearningRate(options_, step_, steps_), norm = optimizer_.Step(rate).item<double>();
    const int64_t tokens = options_.batch * options_.length;
    curve_.tokens.push_back(step_ * tokens);
    curve_.loss.push_back(value);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    tokens_per_second_ = static_cast<double>(tokens) / seconds.count();
    metrics_->Add(step_, {{"tokens", static_cast<double>(step_ * tokens)},
                          {"loss", value},
                          {"learning_rate", rate},
                          {"gradient_norm", norm},
                          {"tokens_per_second", tokens_per_second_}});
    ++step_;
  }

  // Adds up the gradients of the mean loss over a batch, a part of it at a time; that loss.
  double Backward(const Tensor& batch) const {
    const int64_t rows = batch.size(0), most = options_.micro_batch > 0 ? options_.micro_batch : rows;
    Tensor sum;
    for (int64_t row = 0; row < rows; row += most) {
      const Tensor part = batch.slice(0, row, row + most);
      const Tensor loss = Loss(part) * (static_cast<double>(part.size(0)) / static_cast<double>(rows));
      loss.backward();
      sum = sum.defined() ? sum + loss.detach() : loss.detach();
    }
    return sum.item<double>();
  }

  // At the start, in the middle and at the end; not twice for one step after a resumption.
  void Validate() {
    if (options_.validation_windows == 0 || (step_ != 0 && step_ != steps_ / 2 && step_ != steps_)) return;
    const int64_t tokens = step_ * options_.batch * options_.length;
    if (!curve_.validation_tokens.empty() && curve_.validation_tokens.back() == tokens) return;
    const at::NoGradGuard no_grad;
    double sum = 0;
    for (int64_t row = training_windows_; row < windows_.size(0); ++row)
      sum += ValidationLoss(windows_.narrow(0, row, 1).to(model_.device()));
    curve_.validation_tokens.push_back(tokens);
    curve_.validation_loss.push_back(sum / static_cast<double>(options_.validation_windows));
    metrics_->Add(step_, {{"validation_loss", curve_.validation_loss.back()}});
  }

  void Save() const {
    NamedTensors tensors;
    optimizer_.SaveTo(tensors);
    tensors["curve.tokens"] = at::tensor(curve_.tokens, at::kLong);
    tensors["curve.loss"] = at::tensor(curve_.loss, at::kDouble);
    tensors["curve.validation_tokens"] = at::tensor(curve_.validation_tokens, at::kLong);
    tensors["curve.validation_loss"] = at::tensor(curve_.validation_loss, at::kDouble);
    SaveTensors(state_, tensors, {{"format", "espalier.heal/1"}, {"step", std::to_string(step_)}});
  }

  void Load() {
    const NamedTensors tensors = LoadTensors(state_);
    optimizer_.LoadFrom(tensors, state_.string());
    const auto get = [&](const char* name, at::ScalarType type) {
      const auto found = tensors.find(name);
      if (found == tensors.end() || found->second.scalar_type() != type || found->second.dim() != 1)
        throw IoError(fmt::format("{}: '{}' is missing or of another type; delete this file to heal from the start",
                                  state_.string(), name));
      return found->second.contiguous();
    };
    const auto integers = [&](const char* name) {
      const Tensor values = get(name, at::kLong);
      return std::vector<int64_t>(values.data_ptr<int64_t>(), values.data_ptr<int64_t>() + values.numel());
    };
    const auto reals = [&](const char* name) {
      const Tensor values = get(name, at::kDouble);
      return std::vector<double>(values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
    };
    curve_ = {integers("curve.tokens"), reals("curve.loss"), integers("curve.validation_tokens"),
              reals("curve.validation_loss")};
    step_ = static_cast<int64_t>(curve_.loss.size());
    LogInfo("heal: goes on at step {} of {}", step_, steps_);
  }

  const Model* teacher_;
  Model model_;
  Tensor windows_;
  HealOptions options_;
  std::filesystem::path state_;
  std::vector<Trainable> trainables_;
  AdamW optimizer_;
  Rope rope_;
  HealCurve curve_;
  std::unique_ptr<MetricsLog> metrics_;
  double tokens_per_second_ = 0;
  int64_t training_windows_ = 0, steps_ = 0, step_ = 0;
};

}  // namespace

std::vector<OptionSpec> HealRecipeOptions() {
  const HealOptions d;
  return {
      IntOption("tokens", 200000, "Tokens to train on").AtLeast(1),
      IntOption("batch", d.batch, "Windows a step").Between(1, 1024),
      IntOption("micro_batch", d.micro_batch, "Windows that run together, their gradients summed; 0: the whole batch")
          .Between(0, 1024),
      IntOption("length", d.length, "Tokens a window").Between(8, 131072),
      RealOption("learning_rate", 5e-4, "Peak learning rate").Between(0, 1),
      TextOption("schedule", d.schedule, "Learning rate after the warm-up: cosine, linear, or wsd: constant, then down")
          .OneOf({"cosine", "linear", "wsd"}),
      RealOption("decay_share", d.decay_share, "wsd only. Share of the steps in which it goes down").Between(0, 1),
      RealOption("final_share", d.final_share, "Learning rate at the end, as a share of the peak").Between(0, 1),
      RealOption("warmup_share", d.warmup_share, "Share of the steps with rising learning rate").Between(0, 1),
      RealOption("weight_decay", d.weight_decay, "Decoupled weight decay").Between(0, 1),
      RealOption("clip", d.clip, "Largest gradient norm").AtLeast(1e-6),
      IntOption("validation_windows", d.validation_windows, "Windows held out of the healing text to watch the loss")
          .Between(0, 4096),
      BoolOption("checkpoint_activations", d.checkpoint_activations,
                 "Compute activations again in the backward pass: less memory, 1.3 times the time"),
      RealOption("save_seconds", d.save_seconds, "Seconds between checkpoints of an unfinished healing").AtLeast(0),
      RealOption("next_token", d.token.next_token, "Weight of the next-token loss").AtLeast(0),
      RealOption("logits", d.token.logits,
                 "Weight of the divergence from the dense model's predictions (distillation, arXiv 1503.02531)")
          .AtLeast(0),
      RealOption("temperature", d.token.temperature, "logits: of both predictions").Between(0.01, 100),
      RealOption("hidden", d.hidden, "Weight of the relative squared error of the dense model's last hidden states")
          .AtLeast(0)};
}

HealOptions HealOptionsFrom(const Options& options, uint64_t seed) {
  HealOptions heal;
  heal.tokens = options.Int("tokens");
  heal.batch = options.Int("batch");
  heal.micro_batch = options.Int("micro_batch");
  heal.length = options.Int("length");
  heal.learning_rate = options.Real("learning_rate");
  heal.final_share = options.Real("final_share");
  heal.warmup_share = options.Real("warmup_share");
  heal.weight_decay = options.Real("weight_decay");
  heal.clip = options.Real("clip");
  heal.validation_windows = options.Int("validation_windows");
  heal.checkpoint_activations = options.Bool("checkpoint_activations");
  heal.save_seconds = options.Real("save_seconds");
  heal.schedule = options.Text("schedule");
  heal.decay_share = options.Real("decay_share");
  heal.token = {options.Real("next_token"), options.Real("logits"), options.Real("temperature")};
  heal.hidden = options.Real("hidden");
  if (heal.token.next_token == 0 && !heal.NeedsTeacher())
    throw RecipeError("heal: next_token, logits and hidden are all 0; expected something to learn");
  heal.seed = seed;
  return heal;
}

double LearningRate(const HealOptions& options, int64_t step, int64_t steps) {
  const double warmup = options.warmup_share * static_cast<double>(steps);
  const double at = static_cast<double>(step);
  if (at < warmup) return options.learning_rate * (at + 1) / (warmup + 1);
  const double all = static_cast<double>(steps);
  const double start = options.schedule == "wsd" ? std::max(warmup, all * (1 - options.decay_share)) : warmup;
  const double progress = std::max(0.0, (at - start) / std::max(1.0, all - start));
  const double share = options.schedule == "cosine" ? 0.5 * (1 + std::cos(std::numbers::pi * progress)) : 1 - progress;
  return options.learning_rate * (options.final_share + (1 - options.final_share) * share);
}

HealResult Heal(const Model& model, const Tensor& windows, const HealingMethod& method, const HealOptions& options,
                const std::filesystem::path& state, const Model* teacher) {
  Trainer trainer(model, windows, method, options, state, teacher);
  HealCurve curve = trainer.Run();
  const at::NoGradGuard no_grad;
  method.Merge(trainer.model());
  return {trainer.model(), std::move(curve)};
}

}  // namespace espalier
