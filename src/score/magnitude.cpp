// Group magnitude: the sum of squares (l2) or of absolute values (l1, the norm of Li et al. 2017, arXiv 1608.08710) of
// everything the unit owns. Needs no data, and shows why data is needed.
#include <ATen/ATen.h>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class Magnitude final : public Scorer {
 public:
  explicit Magnitude(bool absolute) : absolute_(absolute) {}

  bool Scores(UnitKind) const override { return true; }

  at::Tensor Score(const ScoreInput& input) const override {
    const int64_t units = UnitSpace(input.model, input.block, input.kind).size();
    at::Tensor score = at::zeros({units, 1}, at::kDouble);
    if (!PerModel(input.kind)) return AddBlock(input.model, input.block, input.kind, score);
    for (int64_t l = 0; l < input.model.config.L(); ++l) AddBlock(input.model, l, input.kind, score);
    for (const at::Tensor& outside : {input.model.embedding, input.model.head})  // [V, C]
      if (outside.defined()) score += Power(outside).sum(0).cpu().unsqueeze(1);
    return score;
  }

 private:
  // Powers summed across each row or column once per layer, then picked up by the units that own them.
  at::Tensor& AddBlock(const Model& model, int64_t l, UnitKind kind, at::Tensor& score) const {
    const Block& block = model.blocks.at(static_cast<size_t>(l));
    const UnitSpace space(model, l, kind);
    std::map<std::pair<Role, Axis>, at::Tensor> sums;
    for (int64_t unit = 0; unit < space.size(); ++unit) {
      for (const Slice& slice : space.Owns(unit)) {
        if (!block.At(slice.role).defined()) continue;  // a removed sublayer's constant
        auto& sum = sums[{slice.role, slice.axis}];
        if (!sum.defined()) sum = Power(block.At(slice.role).weight).sum(slice.axis == Axis::kRows ? 1 : 0).cpu();
        score[unit][0] += sum.narrow(0, slice.first, slice.count).sum();
      }
    }
    return score;
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
