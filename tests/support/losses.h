#pragma once
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "espalier/model/forward.h"

namespace espalier {

// Mean next-token loss of windows [B, T] by LibTorch's own cross-entropy over all logits.
inline double MeanLoss(const Model& model, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  const at::Tensor logits = Logits(model, ids).slice(1, 0, -1).reshape({-1, model.config.V});
  return at::cross_entropy_loss(logits, ids.slice(1, 1).reshape({-1})).item<double>();
}

}  // namespace espalier
