// Fisher loss mass of a unit: the mean over tokens of (sum over its inputs x_j of x_j dL/dx_j)^2, the empirical Fisher
// information of a factor on the unit's output. It is in units of the loss, so that units of different blocks and kinds
// can be ranked together (allocate: {method: global, normalize: cost}). SCAR, arXiv 2604.23475.
#include <ATen/ATen.h>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class Fisher final : public Scorer {
 public:
  bool Scores(UnitKind kind) const override { return !PerModel(kind); }
  at::Tensor Score(const ScoreInput& input) const override {
    const at::Tensor& mass = SumsFor(input, "fisher", &BlockStatistics::loss_mass);       // [units]
    return (mass / static_cast<double>(input.statistics->gradient_tokens)).unsqueeze(1);  // [units, 1]
  }
};

const bool kRegistered = Registry<Scorer>::Register(
    {"fisher",
     "Mean squared first-order effect of the unit on the loss, from gradients of activations",
     "SCAR, arXiv 2604.23475",
     {"gradients"},
     {}},
    [](const Options&) -> std::unique_ptr<Scorer> { return std::make_unique<Fisher>(); });

}  // namespace
}  // namespace espalier
