// Super weights, Yu et al. 2024, arXiv 2411.07191: single weights of w_down whose loss destroys a model. What
// structured pruning can lose is their column: the FFN neuron.
#include <fmt/format.h>

#include "espalier/protect/rule.h"

namespace espalier {
namespace {

class SuperWeights final : public ProtectionRule {
 public:
  std::vector<Protection> Protect(const ModelConfig&, const Phenomena& phenomena) const override {
    std::vector<Protection> protections;
    for (const SuperWeight& weight : phenomena.super_weights)
      protections.push_back({{weight.block, UnitKind::kFfnChannel, weight.column},
                             "super_weights",
                             fmt::format("w_down[{}, {}] = {:.3g} meets an input of {:.0f} and an output of {:.0f}",
                                         weight.row, weight.column, weight.weight, weight.input, weight.output)});
    return protections;
  }
};

const bool kRegistered = Registry<ProtectionRule>::Register(
    {"super_weights",
     "Neurons whose column of w_down holds a super weight",
     "Yu et al. 2024, arXiv 2411.07191",
     {"phenomena"},
     {}},
    [](const Options&) -> std::unique_ptr<ProtectionRule> { return std::make_unique<SuperWeights>(); });

}  // namespace
}  // namespace espalier
