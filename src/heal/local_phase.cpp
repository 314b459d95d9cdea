#include "local_phase.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>

#include "adamw.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/model/forward.h"
#include "espalier/model/precision.h"

namespace espalier {
namespace {

using at::Tensor;

class LocalPhase {
 public:
  LocalPhase(const Model& teacher, Model& model, const std::vector<Trainable>& trainables, const Tensor& windows,
             const HealOptions& options, const Checkpoints& state)
      : teacher_(teacher), model_(model), trainables_(trainables), options_(options), state_(state) {
    options_.learning_rate = options.local_rate;
    options_.weight_decay = 0;
    steps_ = options.local_tokens / (options.batch * options.length);
    if (steps_ < 1 || windows.size(0) < steps_ * options.batch)
      throw RecipeError(
          fmt::format("heal.local_tokens: {} tokens in windows of {} make {} steps of {} windows, and the text has {} "
                      "windows; expected at least one step and no more windows than there are",
                      options.local_tokens, options.length, steps_, options.batch, windows.size(0)));
    rope_ = MakeRope(model.config, options.length, model.device(), model.dtype());
    teacher_rope_ = MakeRope(teacher.config, options.length, teacher.device(), teacher.dtype());
    const at::NoGradGuard no_grad;
    const Tensor ids = windows.narrow(0, 0, steps_ * options.batch).to(model.device());
    dense_ = Embed(teacher, ids);
    stream_ = Embed(model, ids).detach().clone();
  }

  LocalErrors Run() {
    if (state_.Any()) Load();
    const int64_t fitted = std::ssize(errors_.before), L = model_.config.L();
    Progress progress("heal blocks", L);
    for (int64_t l = 0; l < L; ++l) {
      Advance(teacher_, l, teacher_rope_, dense_);
      if (l >= fitted) {
        Fit(l);
        Save();
      }
      Advance(model_, l, rope_, stream_);
      progress.Step(1, fmt::format("error {:.2e}, was {:.2e}", errors_.after[static_cast<size_t>(l)],
                                   errors_.before[static_cast<size_t>(l)]));
    }
    return errors_;
  }

 private:
  Tensor Batch(const Tensor& stream, int64_t step) const {
    return stream.narrow(0, step * options_.batch, options_.batch);
  }

  void Advance(const Model& model, int64_t l, const Rope& rope, Tensor& stream) const {
    const at::NoGradGuard no_grad;
    for (int64_t step = 0; step < steps_; ++step)
      Batch(stream, step).copy_(RunBlock(model, l, Batch(stream, step), rope));
  }

  Tensor Error(int64_t l, int64_t step) const {
    const ProductsIn rounded(model_.device(), options_.matmul);
    const Tensor target = Batch(dense_, step).to(model_.dtype()),
                 size = target.square().mean(-1).clamp_min(1e-12);  // [B, T]
    return ((RunBlock(model_, l, Batch(stream_, step), rope_) - target).square().mean(-1) / size).mean();
  }

  double MeanError(int64_t l) const {
    const at::NoGradGuard no_grad;
    double sum = 0;
    for (int64_t step = 0; step < steps_; ++step) sum += Error(l, step).item<double>();
    if (!std::isfinite(sum))
      throw NumericError(fmt::format("heal: the error of block {} is {}; lower heal.local_rate, now {}", l, sum,
                                     options_.learning_rate));
    return sum / static_cast<double>(steps_);
  }

  void Fit(int64_t l) {
    std::vector<Trainable> own;
    for (const Trainable& trainable : trainables_)
      if (trainable.name.starts_with(fmt::format("block{}.", l))) own.push_back(trainable);
    errors_.before.push_back(MeanError(l));
    if (!own.empty() && errors_.before.back() > 0) {
      AdamW optimizer(own, options_);
      for (int64_t step = 0; step < steps_; ++step) {
        Error(l, step).backward();
        optimizer.GradientNorm();
        optimizer.Step(LearningRate(options_, step, steps_));
      }
      errors_.after.push_back(MeanError(l));
    } else {
      errors_.after.push_back(errors_.before.back());
    }
  }

  void Save() const {
    NamedTensors tensors = {{"before", at::tensor(errors_.before, at::kDouble)},
                            {"after", at::tensor(errors_.after, at::kDouble)}};
    for (const Trainable& trainable : trainables_)
      tensors["parameter." + trainable.name] = trainable.parameter.detach();
    state_.Save(tensors, {{"format", "espalier.heal-blocks/1"}});
  }

  void Load() {
    const at::NoGradGuard no_grad;
    state_.Load([this](const NamedTensors& tensors, const std::string& file) {
      const auto get = [&](const std::string& name) {
        const auto found = tensors.find(name);
        if (found == tensors.end())
          throw IoError(fmt::format("{}: '{}' is missing; delete this file to heal from the start", file, name));
        return found->second;
      };
      for (const Trainable& trainable : trainables_) {
        const Tensor stored = get("parameter." + trainable.name);
        if (stored.sizes() != trainable.parameter.sizes())
          throw IoError(fmt::format("{}: 'parameter.{}' is of another shape; delete this file to heal from the start",
                                    file, trainable.name));
        trainable.parameter.detach().copy_(stored);
      }
      const auto reals = [&](const char* name) {
        const Tensor values = get(name).to(at::kDouble).contiguous();
        return std::vector<double>(values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
      };
      errors_ = {reals("before"), reals("after")};
    });
  }

  const Model& teacher_;
  Model& model_;
  const std::vector<Trainable>& trainables_;
  HealOptions options_;
  const Checkpoints& state_;
  int64_t steps_ = 0;
  Rope rope_, teacher_rope_;
  Tensor dense_, stream_;  // [S, T, C], before the block at hand; dense_ already after it
  LocalErrors errors_;
};

}  // namespace

LocalErrors FitBlocks(const Model& teacher, Model& model, const std::vector<Trainable>& trainables,
                      const Tensor& windows, const HealOptions& options, const Checkpoints& state) {
  return LocalPhase(teacher, model, trainables, windows, options, state).Run();
}

}  // namespace espalier
