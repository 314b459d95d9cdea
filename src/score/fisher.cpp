// Fisher loss mass of a unit: the mean over tokens of (sum over its inputs x_j of x_j dL/dx_j)^2, the empirical Fisher
// information of a factor on the unit's output. It is in units of the loss, so that units of different blocks and kinds
// can be ranked together (allocate: {method: global, normalize: cost}). SCAR, arXiv 2604.23475.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class Fisher final : public Scorer {
 public:
  // Loss masses are measured of these two.
  bool Scores(UnitKind kind) const override { return kind == UnitKind::kKvGroup || kind == UnitKind::kFfnChannel; }

  at::Tensor Score(const ScoreInput& input) const override {
    const UnitSpace space(input.model, input.block, input.kind);
    if (input.block >= static_cast<int64_t>(input.statistics->blocks.size()))
      throw ShapeError(fmt::format("fisher: statistics of {} blocks, the model has {}; calibrate this model again",
                                   input.statistics->blocks.size(), input.model.config.L()));
    const at::Tensor& mass = input.statistics->blocks.at(static_cast<size_t>(input.block)).LossMassOf(space.consumer());
    ESPALIER_CHECK(mass.defined() && input.statistics->gradient_tokens > 0, "fisher needs calibration with gradients");
    if (mass.size(0) != space.size())
      throw ShapeError(
          fmt::format("fisher: block {}: loss mass of {} units, the model has {}; calibrate this model again",
                      input.block, mass.size(0), space.size()));
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
