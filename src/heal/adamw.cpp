#include "adamw.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "espalier/core/error.h"

namespace espalier {

using at::Tensor;

AdamW::AdamW(std::vector<Trainable> trainables, const HealOptions& options)
    : trainables_(std::move(trainables)), options_(options) {
  for (const Trainable& trainable : trainables_) {
    parameters_.push_back(trainable.parameter);
    mean_.push_back(at::zeros_like(trainable.parameter));
    square_.push_back(at::zeros_like(trainable.parameter));
    steps_.push_back(at::zeros({}, trainable.parameter.options().dtype(at::kFloat)));
  }
}

Tensor AdamW::GradientNorm() {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> norms;
  for (Tensor& parameter : parameters_) {
    if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter);
    norms.push_back(at::linalg_vector_norm(parameter.grad(), 2));
  }
  norm_ = at::linalg_vector_norm(at::stack(norms), 2);
  return norm_;
}

void AdamW::Step(double learning_rate) {
  ESPALIER_CHECK(norm_.defined(), "GradientNorm before Step");
  const at::NoGradGuard no_grad;
  std::vector<Tensor> grads;
  const Tensor scale = (options_.clip / (norm_ + 1e-6)).clamp_max(1.0);
  for (Tensor& parameter : parameters_) grads.push_back(parameter.mutable_grad().mul_(scale));
  for (Tensor& step : steps_) step.add_(1);  // the kernel corrects its bias by steps that have begun
  for (const bool decays : {true, false}) {
    const auto group = [&](const std::vector<Tensor>& all) {
      std::vector<Tensor> some;
      for (size_t i = 0; i < all.size(); ++i)
        if ((parameters_[i].dim() > 1) == decays) some.push_back(all[i]);
      return some;
    };
    const std::vector<Tensor> parameters = group(parameters_);
    if (parameters.empty()) continue;
    at::_fused_adamw_(parameters, group(grads), group(mean_), group(square_), {}, group(steps_), learning_rate,
                      options_.beta1, options_.beta2, decays ? options_.weight_decay : 0, options_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
  }
  for (Tensor& parameter : parameters_) parameter.mutable_grad() = Tensor();
  norm_ = Tensor();
}

void AdamW::SaveTo(NamedTensors& tensors) const {
  for (size_t i = 0; i < trainables_.size(); ++i) {
    tensors["parameter." + trainables_[i].name] = parameters_[i].detach();
    tensors["mean." + trainables_[i].name] = mean_[i];
    tensors["square." + trainables_[i].name] = square_[i];
    tensors["steps." + trainables_[i].name] = steps_[i];
  }
}

void AdamW::LoadFrom(const NamedTensors& tensors, const std::string& file) {
  const at::NoGradGuard no_grad;
  const auto load = [&](const std::string& name, Tensor into) {
    const auto found = tensors.find(name);
    if (found == tensors.end() || found->second.sizes() != into.sizes())
      throw IoError(
          fmt::format("{}: '{}' is missing or of another shape; delete this file to heal from the start", file, name));
    into.copy_(found->second);
  };
  for (size_t i = 0; i < trainables_.size(); ++i) {
    load("parameter." + trainables_[i].name, parameters_[i]);
    load("mean." + trainables_[i].name, mean_[i]);
    load("square." + trainables_[i].name, square_[i]);
    load("steps." + trainables_[i].name, steps_[i]);
  }
}

}  // namespace espalier
