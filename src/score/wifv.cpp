// FLAP, An et al. 2023, arXiv 2312.11983: WIFV_j = Var_t(X_tj) sum_i W_ij^2, the output variance that a constant cannot
// replace. The published code's defects are not here: the variance is the exact one of all tokens (their running update
// reads the mean it has just overwritten and gives the first sample none), and the cost of a head is not truncated.
#include <ATen/ATen.h>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class Wifv final : public Scorer {
 public:
  at::Tensor Score(const ScoreInput& input) const override {
    return ScoreColumns(input, [](const ConsumerInput& consumer) {
      return consumer.moments.Variance() * consumer.weight.to(at::kDouble).square().sum(0).cpu();  // [n]
    });
  }
};

const bool kRegistered =
    Registry<Scorer>::Register({"wifv",
                                "Variance of the input column times the squared norm of its weights",
                                "FLAP, An et al. 2023, arXiv 2312.11983",
                                {"moments"},
                                {}},
                               [](const Options&) -> std::unique_ptr<Scorer> { return std::make_unique<Wifv>(); });

}  // namespace
}  // namespace espalier
