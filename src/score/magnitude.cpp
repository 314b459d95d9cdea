// Group magnitude: the sum of squares of everything the unit owns. Needs no data, and shows why data is needed.
#include <ATen/ATen.h>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class Magnitude final : public Scorer {
 public:
  at::Tensor Score(const ScoreInput& input) const override {
    const Block& block = input.model.blocks.at(static_cast<size_t>(input.block));
    const UnitSpace space(input.model, input.block, input.kind);
    // Squares summed across each row or column once per layer, then picked up by the units that own them.
    std::map<Role, at::Tensor> sums;
    at::Tensor score = at::zeros({space.size(), 1}, at::kDouble);
    for (int64_t unit = 0; unit < space.size(); ++unit) {
      for (const Slice& slice : space.Owns(unit)) {
        auto& sum = sums[slice.role];
        if (!sum.defined())
          sum = block.At(slice.role).weight.to(at::kDouble).square().sum(slice.axis == Axis::kRows ? 1 : 0).cpu();
        score[unit][0] += sum.narrow(0, slice.first, slice.count).sum();
      }
    }
    return score;
  }
};

const bool kRegistered =
    Registry<Scorer>::Register({"magnitude",
                                "Sum of squares of the unit's weights (group L2)",
                                "Li et al. 2017, arXiv 1608.08710; sum over the unit's matrices is ours",
                                {},
                                {}},
                               [](const Options&) -> std::unique_ptr<Scorer> { return std::make_unique<Magnitude>(); });

}  // namespace
}  // namespace espalier
