// Group magnitude: the sum of squares (l2) or of absolute values (l1, the norm of Li et al. 2017, arXiv 1608.08710) of
// everything the unit owns. Needs no data, and shows why data is needed.
#include <ATen/ATen.h>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class Magnitude final : public Scorer {
 public:
  explicit Magnitude(bool absolute) : absolute_(absolute) {}

  at::Tensor Score(const ScoreInput& input) const override {
    const Block& block = input.model.blocks.at(static_cast<size_t>(input.block));
    const UnitSpace space(input.model, input.block, input.kind);
    // Powers summed across each row or column once per layer, then picked up by the units that own them.
    std::map<Role, at::Tensor> sums;
    at::Tensor score = at::zeros({space.size(), 1}, at::kDouble);
    for (int64_t unit = 0; unit < space.size(); ++unit) {
      for (const Slice& slice : space.Owns(unit)) {
        auto& sum = sums[slice.role];
        if (!sum.defined()) sum = Power(block.At(slice.role).weight).sum(slice.axis == Axis::kRows ? 1 : 0).cpu();
        score[unit][0] += sum.narrow(0, slice.first, slice.count).sum();
      }
    }
    return score;
  }

 private:
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
