#include "espalier/score/dense_pass.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "espalier/calibrate/gradients.h"
#include "espalier/model/forward.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kBatch = 8;  // windows at a time

// Sum over the predicted tokens of one batch.
double SumOfLosses(const Model& model, const Tensor& last, const Tensor& ids) {
  const Tensor hidden = FinalNorm(model, last).slice(1, 0, -1).reshape({-1, model.config.C});
  return TokenNll(model, hidden, ids.slice(1, 1).reshape({-1})).sum(at::kDouble).item<double>();
}

Rope RopeOf(const Model& model, const Tensor& windows) {
  return MakeRope(model.config, windows.size(1), model.device(), model.dtype());
}

double Predicted(const Tensor& windows) {
  return static_cast<double>(windows.size(0) * (windows.size(1) - 1));
}

}  // namespace

DensePass::DensePass(const Model& model, const Tensor& windows, int64_t sequences) : model_(model), windows_(windows) {
  const at::NoGradGuard no_grad;
  const Tensor chosen = windows.narrow(0, 0, std::min(sequences, windows.size(0)));
  const Rope rope = RopeOf(model, chosen);
  double sum = 0;
  for (const Tensor& batch : chosen.split(kBatch)) {
    ids_.push_back(batch.to(model.device()));
    inputs_.push_back(BlockInputs(model, ids_.back(), rope));
    sum += SumOfLosses(model, inputs_.back().back(), ids_.back());
  }
  loss_ = sum / Predicted(chosen);
}

bool DensePass::IsOf(const Model& model, const Tensor& windows) const {
  return windows_.is_same(windows) && SameTensors(model_, model);
}

double DensePass::LossFrom(const Model& model, int64_t l) const {
  const at::NoGradGuard no_grad;
  const Rope rope = RopeOf(model, windows_);
  double sum = 0, predicted = 0;
  for (size_t batch = 0; batch < ids_.size(); ++batch) {
    Tensor hidden = inputs_[batch][static_cast<size_t>(l)];
    for (int64_t k = l; k < model.config.L(); ++k) hidden = RunBlock(model, k, hidden, rope);
    sum += SumOfLosses(model, hidden, ids_[batch]);
    predicted += Predicted(ids_[batch]);
  }
  return sum / predicted;
}

}  // namespace espalier
