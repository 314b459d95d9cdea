#pragma once
// What healing trains: a method makes parameters out of a model's tensors, and merges them back afterwards.
#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/registry.h"
#include "espalier/model/model.h"

namespace espalier {

struct Trainable {
  std::string name;
  at::Tensor parameter;  // a leaf that requires gradients
};

class HealingMethod {
 public:
  static constexpr std::string_view kKind = "healing method";
  virtual ~HealingMethod() = default;
  // Makes `model` (the trainer's own copy) trainable. The random start depends on `seed` only.
  virtual std::vector<Trainable> Attach(Model& model, uint64_t seed) const = 0;
  // Plain tensors again: what was learned is folded into the weights.
  virtual void Merge(Model& model) const = 0;
};

// Plain tensors again, with the values that they have: Merge of a method that trains the model's own tensors.
void DetachAll(Model& model);

}  // namespace espalier
