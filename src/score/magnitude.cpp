// Group magnitude: the sum of squares (l2) or of absolute values (l1, the norm of Li et al. 2017, arXiv 1608.08710) of
// everything the unit owns. Needs no data, and shows why data is needed.
#include <ATen/ATen.h>

#include <map>
#include <vector>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class Magnitude final : public Scorer {
 public:
  explicit Magnitude(bool absolute) : absolute_(absolute) {}

  bool Scores(UnitKind) const override { return true; }

  at::Tensor Score(const ScoreInput& input) const override {
    std::vector<double> score(static_cast<size_t>(UnitSpace(input.model, input.block, input.kind).size()));
    if (!PerModel(input.kind)) {
      AddBlock(input.model, input.block, input.kind, score);
    } else {
      for (int64_t l = 0; l < input.model.config.L(); ++l) AddBlock(input.model, l, input.kind, score);
      AddOutside(input.model, score);
    }
    return at::tensor(score, at::kDouble).unsqueeze(1);  // [units, 1]
  }

 private:
  // Powers summed across each row and column once per layer, then picked up by the units that own them.
  void AddBlock(const Model& model, int64_t l, UnitKind kind, std::vector<double>& score) const {
    const UnitSpace space(model, l, kind);
    std::map<std::pair<Role, Axis>, std::vector<double>> sums;
    for (int64_t unit = 0; unit < space.size(); ++unit)
      for (const Slice& slice : space.Owns(unit)) {
        std::vector<double>& sum = sums[{slice.role, slice.axis}];
        const Linear& linear = model.blocks[static_cast<size_t>(l)].At(slice.role);
        if (!linear.defined()) continue;
        if (sum.empty()) sum = Sums(linear.weight, slice.axis);
        for (int64_t i = slice.first; i < slice.first + slice.count; ++i)
          score[static_cast<size_t>(unit)] += sum[static_cast<size_t>(i)];
      }
  }

  // What residual channels own in the embedding and in a head of its own.
  void AddOutside(const Model& model, std::vector<double>& score) const {
    for (const at::Tensor* tensor : {&model.embedding, &model.head}) {
      if (!tensor->defined()) continue;
      const std::vector<double> sum = Sums(*tensor, Axis::kColumns);
      for (size_t channel = 0; channel < score.size(); ++channel) score[channel] += sum[channel];
    }
  }

  std::vector<double> Sums(const at::Tensor& weight, Axis axis) const {
    const at::Tensor sum = Power(weight).sum(axis == Axis::kRows ? 1 : 0).cpu().contiguous();
    return {sum.const_data_ptr<double>(), sum.const_data_ptr<double>() + sum.numel()};
  }

  at::Tensor Power(const at::Tensor& weight) const {
    const at::Tensor w = weight.to(at::kDouble);
    return absolute_ ? w.abs() : w.square();
  }

  bool absolute_;
};

const bool kRegistered = Registry<Scorer>::Register(
    {"magnitude",
     "Sum of squares or of absolute values of the unit's weights",
     "Li et al. 2017, arXiv 1608.08710; sum over the unit's matrices is ours",
     {},
     {TextOption("norm", "l2", "Sum of squares (l2) or of absolute values (l1)").OneOf({"l1", "l2"})}},
    [](const Options& options) -> std::unique_ptr<Scorer> {
      return std::make_unique<Magnitude>(options.Text("norm") == "l1");
    });

}  // namespace
}  // namespace espalier
