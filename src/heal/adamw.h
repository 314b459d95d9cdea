#pragma once
// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) through LibTorch's fused kernel, with clipping by global norm.
#include <ATen/core/Tensor.h>

#include <vector>

#include "espalier/heal/trainer.h"
#include "espalier/io/tensors.h"

namespace espalier {

// Weights decay; norms and biases, which have one dimension, do not. With options.shard_optimizer every process of
// options.comm holds the sums of its part of the parameters only; then all of them call Step and SaveTo together.
class AdamW {
 public:
  AdamW(std::vector<Trainable> trainables, const HealOptions& options);
  // Of all gradients, still on the device. Parameters that have none get zeros.
  at::Tensor GradientNorm();
  // One update from the gradients, clipped by the norm that GradientNorm has just found; they are then cleared.
  void Step(double learning_rate);
  // On rank 0 everything; the others' may lack what it got from them.
  void SaveTo(NamedTensors& tensors) const;
  // IoError when a tensor is missing or of another shape.
  void LoadFrom(const NamedTensors& tensors, const std::string& file);

 private:
  bool IsOwn(size_t i) const;
  // A tensor of a parameter's owner, on every rank.
  void FromOwner(size_t i, const at::Tensor& tensor) const;

  std::vector<Trainable> trainables_;
  HealOptions options_;
  std::vector<int64_t> owners_;                                 // ranks; empty when all hold everything
  std::vector<at::Tensor> parameters_, mean_, square_, steps_;  // the last three undefined where not own
  at::Tensor norm_;                                             // []
};

}  // namespace espalier
