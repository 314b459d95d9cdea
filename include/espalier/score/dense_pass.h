#pragma once
// The mean loss of models that are like an intact one up to some block, at the cost of the blocks from there on.
#include <ATen/core/Tensor.h>

#include <vector>

#include "espalier/model/model.h"

namespace espalier {

class DensePass {
 public:
  // Runs `model` on the first `sequences` of windows [S, T] int64 and keeps what goes into every block, [sequences, T,
  // C] each. The model is shared, not copied.
  DensePass(const Model& model, const at::Tensor& windows, int64_t sequences);

  // Whether it was made of these very tensors.
  bool IsOf(const Model& model, const at::Tensor& windows) const;
  double loss() const { return loss_; }  // mean over predicted tokens, nats
  // That of `model`, which is the intact one before block l and may have any sizes from there on.
  double LossFrom(const Model& model, int64_t l) const;

 private:
  Model model_;
  at::Tensor windows_;
  std::vector<at::Tensor> ids_;                  // [B, T] of each batch
  std::vector<std::vector<at::Tensor>> inputs_;  // of each batch: what goes into each block [B, T, C]
  double loss_ = 0;
};

}  // namespace espalier
