// Rise of the mean next-token loss (nats) on calibration sequences when the unit is masked: the measure of SLEB (Song
// et al. 2024, arXiv 2402.09025, blocks) and BlockPruner (Zhong et al. 2024, arXiv 2406.10594, sublayers). Both remove
// the cheapest, measure again and go on; here prune.schedule.steps does that, a scorer only measures. Masking zeroes
// the input columns of w_o or w_down that the unit feeds: a bias that a removed sublayer leaves behind stays.
// Statistics: none; reads the calibration windows. Cost: for each unit the blocks from its own to the last, on
// `sequences` windows. Memory: the dense block inputs of those windows, kept between calls for the same model.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <optional>

#include "espalier/calibrate/gradients.h"
#include "espalier/core/error.h"
#include "espalier/model/forward.h"
#include "espalier/score/scorer.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kBatch = 8;  // windows at a time

// What the intact model does with the sequences.
struct DensePass {
  Model model;  // shares the tensors: they tell whether another call is about the same model
  Tensor windows;
  std::vector<Tensor> ids;                  // [B, T] of each batch
  std::vector<std::vector<Tensor>> inputs;  // of each batch: what goes into each block [B, T, C]
  double loss = 0;                          // mean, nats
};

bool Same(DensePass& pass, Model model, const Tensor& windows) {
  const std::vector<NamedTensorRef> a = TensorsOf(pass.model), b = TensorsOf(model);
  return pass.windows.is_same(windows) && pass.model.edit == model.edit &&
         std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const NamedTensorRef& x, const NamedTensorRef& y) {
           return x.name == y.name && x.tensor->is_same(*y.tensor);
         });
}

// Sum over the predicted tokens of one batch.
double SumOfLosses(const Model& model, const Tensor& last, const Tensor& ids) {
  const Tensor hidden = FinalNorm(model, last).slice(1, 0, -1).reshape({-1, model.config.C});
  return TokenNll(model, hidden, ids.slice(1, 1).reshape({-1})).sum(at::kDouble).item<double>();
}

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
    const at::NoGradGuard no_grad;
    if (!dense_ || !Same(*dense_, input.model, input.windows)) dense_ = Pass(input);
    const int64_t units = UnitSpace(input.model, input.block, input.kind).size();
    Tensor score = at::empty({units, 1}, at::kDouble);
    for (int64_t unit = 0; unit < units; ++unit)
      score[unit][0] = LossFrom(Without(input.model, input.block, input.kind, unit), input.block) - dense_->loss;
    return score;
  }

 private:
  DensePass Pass(const ScoreInput& input) const {
    DensePass pass{input.model, input.windows, {}, {}, 0};
    const Tensor windows = input.windows.narrow(0, 0, std::min(sequences_, input.windows.size(0)));
    const Rope rope = RopeOf(input.model, windows);
    double sum = 0;
    for (const Tensor& batch : windows.split(kBatch)) {
      pass.ids.push_back(batch.to(input.model.device()));
      pass.inputs.push_back(BlockInputs(input.model, pass.ids.back(), rope));
      sum += SumOfLosses(input.model, pass.inputs.back().back(), pass.ids.back());
    }
    pass.loss = sum / Predicted(windows);
    return pass;
  }

  // Mean loss of `model`, which is the dense one up to block l.
  double LossFrom(const Model& model, int64_t l) const {
    const Rope rope = RopeOf(model, dense_->windows);
    double sum = 0, predicted = 0;
    for (size_t batch = 0; batch < dense_->ids.size(); ++batch) {
      Tensor hidden = dense_->inputs[batch][static_cast<size_t>(l)];
      for (int64_t k = l; k < model.config.L(); ++k) hidden = RunBlock(model, k, hidden, rope);
      sum += SumOfLosses(model, hidden, dense_->ids[batch]);
      predicted += Predicted(dense_->ids[batch]);
    }
    return sum / predicted;
  }

  static Rope RopeOf(const Model& model, const Tensor& windows) {
    return MakeRope(model.config, windows.size(1), model.device(), model.dtype());
  }
  static double Predicted(const Tensor& windows) {
    return static_cast<double>(windows.size(0) * (windows.size(1) - 1));
  }

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
