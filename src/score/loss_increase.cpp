// Rise of the mean next-token loss (nats) on calibration sequences when the unit is masked: the measure of SLEB (Song
// et al. 2024, arXiv 2402.09025, blocks) and BlockPruner (Zhong et al. 2024, arXiv 2406.10594, sublayers). Both remove
// the cheapest, measure again and go on; here prune.schedule.steps does that, a scorer only measures. Masking zeroes
// the input columns of w_o or w_down that the unit feeds: a bias that a removed sublayer leaves behind stays.
// Statistics: none; reads the calibration windows. Cost: for each unit the blocks from its own to the last, on
// `sequences` windows. Memory: the dense block inputs of those windows, kept between calls for the same model.
#include <ATen/ATen.h>

#include <optional>

#include "espalier/core/error.h"
#include "espalier/score/dense_pass.h"
#include "espalier/score/scorer.h"

namespace espalier {
namespace {

using at::Tensor;

// A model without what the unit writes.
Model Without(const Model& dense, int64_t l, UnitKind kind, int64_t unit) {
  const UnitSpace space(dense, l, kind);
  Model model = dense;
  for (const Role consumer : Consumers(kind)) {
    Linear& linear = model.blocks[static_cast<size_t>(l)].At(consumer);
    if (!linear.defined()) continue;
    const Tensor columns = at::tensor(space.ConsumerColumns(consumer, unit), at::kLong).to(linear.weight.device());
    linear.weight = linear.weight.index_fill(1, columns, 0);
  }
  return model;
}

class LossIncrease final : public Scorer {
 public:
  explicit LossIncrease(int64_t sequences) : sequences_(sequences) {}

  bool Scores(UnitKind kind) const override {
    return !Consumers(kind).empty() && kind != UnitKind::kFfnChannel && kind != UnitKind::kValueChannel;
  }

  Tensor Score(const ScoreInput& input) const override {
    ESPALIER_CHECK(input.windows.defined(), "loss_increase needs windows");
    if (!dense_ || !dense_->IsOf(input.model, input.windows)) dense_.emplace(input.model, input.windows, sequences_);
    const int64_t units = UnitSpace(input.model, input.block, input.kind).size();
    Tensor score = at::empty({units, 1}, at::kDouble);
    for (int64_t unit = 0; unit < units; ++unit)
      score[unit][0] =
          dense_->LossFrom(Without(input.model, input.block, input.kind, unit), input.block) - dense_->loss();
    return score;
  }

 private:
  int64_t sequences_;
  mutable std::optional<DensePass> dense_;
};

const bool kRegistered = Registry<Scorer>::Register(
    {"loss_increase",
     "Rise of the mean loss on calibration windows when the unit is masked",
     "SLEB, arXiv 2402.09025; BlockPruner, arXiv 2406.10594",
     {"windows"},
     {IntOption("sequences", 8, "Calibration windows that every masked model is run on").AtLeast(1)}},
    [](const Options& options) -> std::unique_ptr<Scorer> {
      return std::make_unique<LossIncrease>(options.Int("sequences"));
    });

}  // namespace
}  // namespace espalier
