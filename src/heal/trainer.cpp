#include "espalier/heal/trainer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "adamw.h"
#include "checkpoints.h"
#include "espalier/comm/share.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/memory.h"
#include "espalier/model/forward.h"
#include "espalier/model/loss.h"
#include "espalier/model/precision.h"
#include "gradient_exchange.h"
#include "local_phase.h"
#include "metrics_log.h"
#include "mixture.h"
#include "teacher_cache.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr double kExplosion = 10;  // times the first loss: nothing comes back from there

// Weights and the optimizer's sums are float32 at least: in bfloat16 a small step changes no weight.
at::ScalarType TrainingDtype(const Model& model) {
  return at::promote_types(model.dtype(), at::kFloat);
}

class Trainer {
 public:
  Trainer(const Model& model, const std::vector<TrainingText>& texts, const HealingMethod& method,
          const HealOptions& options, std::filesystem::path state, const Model* teacher)
      : teacher_(options.NeedsTeacher() ? teacher : nullptr),
        model_(CopyModel(model, TrainingDtype(model), model.device())),
        texts_(texts, options.validation_windows, options.seed),
        options_(options),
        alone_(SingleProcess()),
        comm_(options.comm != nullptr ? *options.comm : *alone_),
        state_(std::move(state)),
        checkpoints_(state_, options.checkpoints),
        trainables_(method.Attach(model_, options.seed)),
        exchange_(comm_, trainables_),
        optimizer_(trainables_, options) {
    if (trainables_.empty())
      throw RecipeError("heal: the method leaves nothing to learn; name at least one role that the model has");
    steps_ = options.tokens / (options.batch * options.length);
    if (steps_ < 1)
      throw RecipeError(fmt::format(
          "heal: {} tokens in {} windows of {} give no step of {} windows; ask for more tokens or more text",
          options.tokens, texts_.size(), options.length, options.batch));
    CheckTeacher();
    CheckPositions();
    CheckProcesses();
    if (options.teacher_cache) cache_.emplace(TeacherFolder(state_), *teacher_, options.token, options.matmul);
    rope_ = MakeRope(model_.config, options.length, model_.device(), model_.dtype());
  }

  HealCurve Run() {
    const bool resumed = LeaderSays(comm_, checkpoints_.Any());
    if (resumed)
      Load();
    else if (options_.local_tokens > 0)
      FitBlocksAlone();
    Progress progress(options_.title, steps_);
    if (step_ > 0) progress.Step(step_, "resumed");
    OpenMetrics();
    if (options_.retries > 0 && !resumed) Save();  // something to go back to
    saved_ = std::chrono::steady_clock::now();
    while (true) {
      std::string problem = Validate();
      if (problem.empty()) {
        if (step_ == steps_ || OutOfPatience()) break;
        problem = TrainStep();
      }
      if (!problem.empty()) {
        GoBack(problem);
        continue;
      }
      try {
        progress.Step(1, fmt::format("loss {:.3f}, {:.0f} tokens/s, {} at most", curve_.loss.back(), tokens_per_second_,
                                     FormatBytes(static_cast<double>(PeakMemory()))));
      } catch (const Interrupted&) {
        // The others may not have been interrupted, so nothing is asked of them.
        if (comm_.Leads() && !options_.IsSharded()) Write(State());
        throw;
      }
    }
    if (options_.keep == "best") TakeBest();
    return curve_;
  }

  Model& model() { return model_; }

 private:
  void FitBlocksAlone() {
    const std::filesystem::path blocks = BlocksState(state_);
    const LocalErrors errors =
        FitBlocks(*teacher_, model_, trainables_, texts_.Windows(texts_.Training()), options_, Checkpoints(blocks, 1));
    curve_.local_before = errors.before, curve_.local_after = errors.after;
    Save();
    std::filesystem::remove(blocks);
  }

  Tensor Hidden(const Tensor& ids, at::ScalarType matmul) const {
    Tensor h = Embed(model_, ids);
    const Rope rope = RopeWith(rope_, model_.config, h);
    for (int64_t l = 0; l < model_.config.L(); ++l) {
      // Inside the block, which the backward pass may run again on a thread of its own.
      const auto block = [this, l, matmul, rope](const Tensor& x) {
        const ProductsIn rounded(model_.device(), matmul);
        return RunBlock(model_, l, x, rope);
      };
      h = options_.checkpoint_activations ? Checkpointed(block, h, trainables_.front().parameter) : block(h);
    }
    return FinalNorm(model_, h);
  }

  void CheckTeacher() const {
    if (!options_.NeedsTeacher()) return;
    ESPALIER_CHECK(teacher_ != nullptr, "a teacher for its logits, hidden states or blocks");
    const bool same_width = options_.hidden > 0 || options_.local_tokens > 0;
    if (teacher_->config.V != model_.config.V || (same_width && teacher_->config.C != model_.config.C))
      throw RecipeError(
          fmt::format("heal: the teacher predicts {} tokens from {} channels, the model {} from {}; expected the same",
                      teacher_->config.V, teacher_->config.C, model_.config.V, model_.config.C));
  }

  void CheckProcesses() const {
    if (comm_.size() == 1) return;
    if (options_.local_tokens > 0 || options_.teacher_cache)
      throw RecipeError("heal: local_tokens and teacher_cache are for one process; leave them out, or start one");
    if (options_.batch < comm_.size())
      throw RecipeError(fmt::format("heal.batch: {} windows a step for {} processes; expected one for each at least",
                                    options_.batch, comm_.size()));
  }

  // States that predict, one a row: [B*(T-1), C].
  static Tensor Predicting(const Tensor& hidden) { return hidden.narrow(1, 0, hidden.size(1) - 1).flatten(0, 1); }

  void CheckPositions() const {
    const int64_t last = options_.last_position > 0 ? options_.last_position : options_.length - 1;
    const bool all = options_.first_position == 1 && last == options_.length - 1;
    if (options_.first_position < 1 || options_.first_position > last || last >= options_.length)
      throw RecipeError(fmt::format("loss on positions {} to {}; expected a range within 1 to {}",
                                    options_.first_position, last, options_.length - 1));
    if (options_.checkpoint_activations && model_.config.variants.gate_signal == GateSignal::kToken)
      throw RecipeError(
          "checkpoint_activations: a gate that reads token embeddings needs them as they are; expected false");
    ESPALIER_CHECK(all || !options_.NeedsTeacher(), "a range of positions is for training without a teacher");
  }

  // x [B, T-1, ...]: those positions that are trained on.
  Tensor Trained(const Tensor& x) const {
    const int64_t last = options_.last_position > 0 ? options_.last_position : options_.length - 1;
    return x.slice(1, options_.first_position - 1, last);
  }

  // Of windows `rows`, ids [B, T] their tokens.
  Tensor Loss(const std::vector<int64_t>& rows, const Tensor& ids) const {
    const Tensor hidden = Trained(Hidden(ids, options_.matmul).slice(1, 0, -1)).flatten(0, 1),
                 targets = Trained(ids.slice(1, 1)).flatten();
    const ProductsIn rounded(model_.device(), options_.matmul);
    if (!options_.LearnsFromTeacher()) return NextTokenLoss(hidden, model_.Head(), targets);
    if (cache_) return DistillationLoss(hidden, model_.Head(), targets, cache_->Of(rows, ids), options_.token);
    Tensor taught;
    {
      const at::NoGradGuard no_grad;
      taught = Predicting(HiddenStates(*teacher_, ids));
    }
    const Tensor loss = DistillationLoss(hidden, model_.Head(), targets, taught, teacher_->Head(), options_.token);
    if (options_.hidden == 0) return loss;
    // Window by window, so that it does not matter how a batch is divided.
    const auto size = [&](const Tensor& x) {
      return x.to(at::kFloat).unflatten(0, {ids.size(0), -1}).square().mean({1, 2});
    };
    return loss + options_.hidden * (size(hidden - taught) / size(taught)).mean();
  }

  // Of the text alone and in float32, whatever is learned and how: comparable.
  double ValidationLoss(const Tensor& ids) const {
    return NextTokenLoss(Predicting(Hidden(ids, at::kFloat)), model_.Head(), ids.slice(1, 1).flatten()).item<double>();
  }

  // What is wrong with the loss or its gradient, where something is; the weights are then those before the step.
  std::string TrainStep() {
    const auto start = std::chrono::steady_clock::now();
    const double value = Backward(texts_.Rows(step_ * options_.batch, options_.batch));
    if (!std::isfinite(value) || (!curve_.loss.empty() && value > kExplosion * curve_.loss.front()))
      return Problem(fmt::format("the loss is {:.4g}", value));
    const double norm = optimizer_.GradientNorm().item<double>();
    if (!std::isfinite(norm)) return Problem(fmt::format("the gradient's norm is {}", norm));
    SaveWhenDue();
    const double rate = rate_share_ * LearningRate(options_, step_, steps_);
    optimizer_.Step(rate);
    const int64_t tokens = options_.batch * options_.length;
    curve_.tokens.push_back(step_ * tokens);
    curve_.loss.push_back(value);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    tokens_per_second_ = static_cast<double>(tokens) / seconds.count();
    Report({{"tokens", static_cast<double>(step_ * tokens)},
            {"loss", value},
            {"learning_rate", rate},
            {"gradient_norm", norm},
            {"tokens_per_second", tokens_per_second_}});
    ++step_;
    return "";
  }

  std::string Problem(const std::string& what) const {
    const std::string start = curve_.loss.empty() ? "" : fmt::format(" (it started at {:.3f})", curve_.loss.front());
    return fmt::format("heal: {} at step {}{}; lower heal.learning_rate, now {}", what, step_, start,
                       rate_share_ * options_.learning_rate);
  }

  // Of weights whose loss has just been seen to be sound, before they change.
  void SaveWhenDue() {
    const auto now = std::chrono::steady_clock::now();
    if (step_ == first_step_) return;
    if (!LeaderSays(comm_, now - saved_ > std::chrono::duration<double>(options_.save_seconds))) return;
    Save();
    saved_ = now;
  }

  void Report(const Scalars& scalars) {
    if (metrics_) metrics_->Add(step_, scalars);
  }

  void OpenMetrics() {
    metrics_.reset();
    if (!comm_.Leads()) return;
    metrics_ = std::make_unique<MetricsLog>(state_.parent_path() / "training", step_);
    // The log keeps what came before this step; the held-out loss of this step is not computed again.
    if (!curve_.validation_tokens.empty() &&
        curve_.validation_tokens.back() == step_ * options_.batch * options_.length)
      Report({{"validation_loss", curve_.validation_loss.back()}});
  }

  // To the last checkpoint, and from there at half the rate.
  void GoBack(const std::string& problem) {
    if (retries_ == options_.retries) throw NumericError(problem);
    if (step_ == first_step_ && comm_.Leads())
      checkpoints_.DropNewest();  // bad weights: an interrupted run saves unseen ones
    LeaderSays(comm_, true);      // now the others may read
    const int64_t retries = retries_ + 1;
    const double rate_share = rate_share_ / 2;
    for (const Trainable& trainable : trainables_) trainable.parameter.mutable_grad() = Tensor();
    Load();
    retries_ = retries;
    rate_share_ = rate_share;
    comm_.Barrier();  // the others have read
    Save();
    OpenMetrics();  // without the steps that come again
    LogWarning("{}; back to step {}, at {} of the rate (retry {} of {})", problem, step_, rate_share_, retries_,
               options_.retries);
  }

  // Adds up the gradients of the mean loss over a batch, a part of it at a time, over all ranks; that loss.
  double Backward(const std::vector<int64_t>& batch) {
    const int64_t rows = std::ssize(batch), most = options_.micro_batch > 0 ? options_.micro_batch : rows;
    const Share own = OwnShare(comm_, rows);
    Tensor sum;
    for (int64_t row = own.first; row < own.end; row += most) {
      const std::vector<int64_t> part(batch.begin() + row, batch.begin() + std::min(row + most, own.end));
      const Tensor ids = texts_.Windows(part).to(model_.device());
      const Tensor loss = Loss(part, ids) * (static_cast<double>(part.size()) / static_cast<double>(rows));
      if (row + most >= own.end) exchange_.Begin();
      loss.backward();
      sum = sum.defined() ? sum + loss.detach() : loss.detach();
    }
    exchange_.Finish();
    const Tensor total = sum.to(at::kCPU, at::kDouble).reshape({1});
    comm_.AllReduce(total);
    return total.item<double>();
  }

  bool IsTimeToValidate() const {
    if (step_ == 0 || step_ == steps_) return true;
    for (int64_t i = 1; i < options_.validations; ++i)
      if (step_ == i * steps_ / options_.validations) return true;
    return false;
  }

  // At the start, at the end and in between; not twice for one step after a resumption. What is wrong with the loss.
  std::string Validate() {
    if (options_.validation_windows == 0 || !IsTimeToValidate()) return "";
    const int64_t tokens = step_ * options_.batch * options_.length;
    if (!curve_.validation_tokens.empty() && curve_.validation_tokens.back() == tokens) return "";
    const at::NoGradGuard no_grad;
    const double loss = texts_.HeldOut([this](const Tensor& ids) { return ValidationLoss(ids.to(model_.device())); });
    if (!std::isfinite(loss)) return Problem(fmt::format("the held-out loss is {:.3f}", loss));
    curve_.validation_tokens.push_back(tokens);
    curve_.validation_loss.push_back(loss);
    Report({{"validation_loss", curve_.validation_loss.back()}});
    if (options_.keep == "best" && BestValidation() + 1 == std::ssize(curve_.validation_loss)) KeepAsBest();
    return "";
  }

  int64_t BestValidation() const {
    return std::ranges::min_element(curve_.validation_loss) - curve_.validation_loss.begin();
  }

  bool OutOfPatience() const {
    if (options_.patience == 0 || curve_.validation_loss.empty()) return false;
    const int64_t since = std::ssize(curve_.validation_loss) - 1 - BestValidation();
    if (since < options_.patience) return false;
    LogInfo("heal: no better held-out loss in {} validations; stops at step {} of {}", since, step_, steps_);
    return true;
  }

  void KeepAsBest() {
    best_.clear();
    for (const Trainable& trainable : trainables_)
      best_["best." + trainable.name] = trainable.parameter.detach().clone();
  }

  void TakeBest() {
    const at::NoGradGuard no_grad;
    for (const Trainable& trainable : trainables_)
      if (const auto best = best_.find("best." + trainable.name); best != best_.end())
        trainable.parameter.detach().copy_(best->second);
  }

  // On all ranks together; writing may take longer than ranks wait for one another.
  void Save() const {
    const NamedTensors state = State();
    OnLeader(comm_, [&] { Write(state); });
  }

  void Write(const NamedTensors& state) const {
    checkpoints_.Save(state, {{"format", "espalier.heal/1"}, {"step", std::to_string(step_)}});
  }

  NamedTensors State() const {
    NamedTensors tensors = best_;
    optimizer_.SaveTo(tensors);
    tensors["retries"] = at::tensor(std::vector<int64_t>{retries_}, at::kLong);
    tensors["rate_share"] = at::tensor(std::vector<double>{rate_share_}, at::kDouble);
    tensors["curve.tokens"] = at::tensor(curve_.tokens, at::kLong);
    tensors["curve.loss"] = at::tensor(curve_.loss, at::kDouble);
    tensors["curve.validation_tokens"] = at::tensor(curve_.validation_tokens, at::kLong);
    tensors["curve.validation_loss"] = at::tensor(curve_.validation_loss, at::kDouble);
    tensors["curve.local_before"] = at::tensor(curve_.local_before, at::kDouble);
    tensors["curve.local_after"] = at::tensor(curve_.local_after, at::kDouble);
    return tensors;
  }

  void Load() {
    checkpoints_.Load([this](const NamedTensors& tensors, const std::string& file) { Take(tensors, file); });
    first_step_ = step_;
    LogInfo("heal: goes on at step {} of {}", step_, steps_);
  }

  // The state of a file.
  void Take(const NamedTensors& tensors, const std::string& file) {
    optimizer_.LoadFrom(tensors, file);
    const auto get = [&](const char* name, at::ScalarType type) {
      const auto found = tensors.find(name);
      if (found == tensors.end() || found->second.scalar_type() != type || found->second.dim() != 1)
        throw IoError(
            fmt::format("{}: '{}' is missing or of another type; delete this file to heal from the start", file, name));
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
    curve_ = {integers("curve.tokens"),       reals("curve.loss"),         integers("curve.validation_tokens"),
              reals("curve.validation_loss"), reals("curve.local_before"), reals("curve.local_after")};
    step_ = static_cast<int64_t>(curve_.loss.size());
    retries_ = integers("retries").at(0);
    rate_share_ = reals("rate_share").at(0);
    best_.clear();
    for (const auto& [name, tensor] : tensors)
      if (name.starts_with("best.")) best_[name] = tensor;
  }

  const Model* teacher_;
  Model model_;
  Mixture texts_;
  HealOptions options_;
  std::unique_ptr<Comm> alone_;
  Comm& comm_;  // that of the options, else alone_
  std::filesystem::path state_;
  Checkpoints checkpoints_;
  std::vector<Trainable> trainables_;
  GradientExchange exchange_;
  AdamW optimizer_;
  Rope rope_;
  std::optional<TeacherCache> cache_;
  HealCurve curve_;
  std::unique_ptr<MetricsLog> metrics_;
  NamedTensors best_;  // parameters of the best held-out loss so far, where they are asked for
  double tokens_per_second_ = 0, rate_share_ = 1;
  int64_t retries_ = 0;
  int64_t steps_ = 0, step_ = 0, first_step_ = 0;  // first_step_: where the last checkpoint was taken up
  std::chrono::steady_clock::time_point saved_;
};

}  // namespace

std::filesystem::path BlocksState(const std::filesystem::path& state) {
  return state.string() + ".blocks";
}

std::filesystem::path TeacherFolder(const std::filesystem::path& state) {
  return state.parent_path() / (state.stem().string() + "-teacher");
}

void RemoveHealState(const std::filesystem::path& state) {
  const std::string name = state.filename().string();
  std::vector<std::filesystem::path> gone = {state, TeacherFolder(state)};
  for (const auto& file : std::filesystem::directory_iterator(state.parent_path()))
    if (file.path().filename().string().starts_with(name + ".")) gone.push_back(file.path());
  for (const std::filesystem::path& path : gone) std::filesystem::remove_all(path);
}

HealResult Heal(const Model& model, const Tensor& windows, const HealingMethod& method, const HealOptions& options,
                const std::filesystem::path& state, const Model* teacher) {
  return Heal(model, std::vector<TrainingText>{{windows}}, method, options, state, teacher);
}

HealResult Heal(const Model& model, const std::vector<TrainingText>& texts, const HealingMethod& method,
                const HealOptions& options, const std::filesystem::path& state, const Model* teacher) {
  Trainer trainer(model, texts, method, options, state, teacher);
  HealCurve curve = trainer.Run();
  const at::NoGradGuard no_grad;
  method.Merge(trainer.model());
  if (trainer.model().dtype() == model.dtype()) return {trainer.model(), std::move(curve)};
  return {CopyModel(trainer.model(), model.dtype(), model.device()), std::move(curve)};
}

}  // namespace espalier
