#include "adamw.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/comm/comm.h"
#include "espalier/core/error.h"

namespace espalier {

using at::Tensor;

namespace {

// Contiguous parts of about the same number of values, in the order of ranks.
std::vector<int64_t> OwnersOf(const std::vector<Trainable>& trainables, int64_t ranks) {
  int64_t total = 0, before = 0;
  for (const Trainable& trainable : trainables) total += trainable.parameter.numel();
  std::vector<int64_t> owners;
  for (const Trainable& trainable : trainables) {
    owners.push_back(before * ranks / std::max<int64_t>(total, 1));
    before += trainable.parameter.numel();
  }
  return owners;
}

}  // namespace

AdamW::AdamW(std::vector<Trainable> trainables, const HealOptions& options)
    : trainables_(std::move(trainables)), options_(options) {
  if (options.IsSharded()) owners_ = OwnersOf(trainables_, options.comm->size());
  for (size_t i = 0; i < trainables_.size(); ++i) {
    const Tensor& parameter = trainables_[i].parameter;
    parameters_.push_back(parameter);
    mean_.push_back(IsOwn(i) ? at::zeros_like(parameter) : Tensor());
    square_.push_back(IsOwn(i) ? at::zeros_like(parameter) : Tensor());
    steps_.push_back(IsOwn(i) ? at::zeros({}, parameter.options().dtype(at::kFloat)) : Tensor());
  }
}

bool AdamW::IsOwn(size_t i) const {
  return owners_.empty() || owners_[i] == options_.comm->rank();
}

void AdamW::FromOwner(size_t i, const Tensor& tensor) const {
  const at::NoGradGuard no_grad;
  const Tensor sent = tensor.detach().to(at::kCPU).contiguous();  // itself, for most
  options_.comm->Broadcast(sent, owners_[i]);
  if (!IsOwn(i) && sent.data_ptr() != tensor.data_ptr()) tensor.detach().copy_(sent);
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
  for (size_t i = 0; i < steps_.size(); ++i)
    if (IsOwn(i)) steps_[i].add_(1);  // the kernel corrects its bias by steps that have begun
  for (const bool decays : {true, false}) {
    const auto group = [&](const std::vector<Tensor>& all) {
      std::vector<Tensor> some;
      for (size_t i = 0; i < all.size(); ++i)
        if (IsOwn(i) && (parameters_[i].dim() > 1) == decays) some.push_back(all[i]);
      return some;
    };
    const std::vector<Tensor> parameters = group(parameters_);
    if (parameters.empty()) continue;
    at::_fused_adamw_(parameters, group(grads), group(mean_), group(square_), {}, group(steps_), learning_rate,
                      options_.beta1, options_.beta2, decays ? options_.weight_decay : 0, options_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
  }
  for (size_t i = 0; i < owners_.size(); ++i) FromOwner(i, parameters_[i]);
  for (Tensor& parameter : parameters_) parameter.mutable_grad() = Tensor();
  norm_ = Tensor();
}

void AdamW::SaveTo(NamedTensors& tensors) const {
  for (size_t i = 0; i < trainables_.size(); ++i) {
    tensors["parameter." + trainables_[i].name] = parameters_[i].detach();
    const auto save = [&](const std::string& name, const std::vector<Tensor>& sums, at::IntArrayRef shape) {
      const bool needed = owners_.empty() || options_.comm->Leads();
      const Tensor sum = IsOwn(i) ? sums[i] : at::empty(shape, at::kFloat);
      if (!owners_.empty() && owners_[i] != 0) FromOwner(i, sum);
      if (needed) tensors[name + trainables_[i].name] = sum;
    };
    save("mean.", mean_, parameters_[i].sizes());
    save("square.", square_, parameters_[i].sizes());
    save("steps.", steps_, {});
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
    if (!IsOwn(i)) continue;
    load("mean." + trainables_[i].name, mean_[i]);
    load("square." + trainables_[i].name, square_[i]);
    load("steps." + trainables_[i].name, steps_[i]);
  }
}

}  // namespace espalier
