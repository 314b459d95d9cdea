// Super weights, Yu et al. 2024, arXiv 2411.07191: single weights of w_down whose loss destroys a model. What
// structured pruning can lose is their column, the FFN neuron, with all that holds it; or their row, a residual
// channel.
#include <fmt/format.h>

#include <set>

#include "espalier/protect/rule.h"

namespace espalier {
namespace {

class SuperWeights final : public ProtectionRule {
 public:
  std::vector<Protection> Protect(const ProtectionInput& input) const override {
    const Phenomena& phenomena = input.phenomena;
    std::vector<Protection> protections;
    std::set<Unit> seen;
    for (const SuperWeight& weight : phenomena.super_weights)
      for (const Unit& unit :
           {Unit{weight.block, UnitKind::kFfnChannel, weight.column}, Unit{weight.block, UnitKind::kFfn, 0},
            Unit{weight.block, UnitKind::kBlock, 0}, Unit{kWholeModel, UnitKind::kResidualChannel, weight.row}})
        if (unit.kind == UnitKind::kFfnChannel || seen.insert(unit).second)
          protections.push_back({unit, "super_weights",
                                 fmt::format("w_down[{}, {}] = {:.3g} meets an input of {:.0f} and an output of {:.0f}",
                                             weight.row, weight.column, weight.weight, weight.input, weight.output)});
    return protections;
  }
};

const bool kRegistered = Registry<ProtectionRule>::Register(
    {"super_weights",
     "Neurons whose column of w_down holds a super weight, with their FFN and block; and the channel of its row",
     "Yu et al. 2024, arXiv 2411.07191",
     {"phenomena"},
     {}},
    [](const Options&) -> std::unique_ptr<ProtectionRule> { return std::make_unique<SuperWeights>(); });

}  // namespace
}  // namespace espalier
