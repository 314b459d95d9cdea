// Norms and biases only, as BitFit (Ben Zaken et al. 2022, arXiv 2106.10199) trains biases: a thousandth of the
// parameters, and hardly any memory for the optimizer.
#include <ATen/ATen.h>

#include "espalier/heal/method.h"

namespace espalier {
namespace {

class Vectors final : public HealingMethod {
 public:
  std::vector<Trainable> Attach(Model& model, uint64_t) const override {
    std::vector<Trainable> trainables;
    for (const NamedTensorRef& ref : TensorsOf(model))
      if (ref.tensor->dim() == 1) trainables.push_back({ref.name, ref.tensor->requires_grad_(true)});
    return trainables;
  }

  void Merge(Model& model) const override { DetachAll(model); }
};

const bool kRegistered = Registry<HealingMethod>::Register(
    {"vectors", "Norms and biases only", "BitFit, arXiv 2106.10199", {}, {}},
    [](const Options&) -> std::unique_ptr<HealingMethod> { return std::make_unique<Vectors>(); });

}  // namespace
}  // namespace espalier
