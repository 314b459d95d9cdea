// Wanda, Sun et al. 2023, arXiv 2306.11695 eq. (1): S_ij = |W_ij| ||X_j||_2, averaged over the output rows i and read
// per input column j: the structured form of An et al. 2023, arXiv 2312.11983 (WIFN).
#include <ATen/ATen.h>

#include "wanda.h"

namespace espalier {
namespace {

class WandaSp final : public Scorer {
 public:
  at::Tensor Score(const ScoreInput& input) const override { return ScoreColumns(input, WeightTimesNorm); }
};

const bool kRegistered =
    Registry<Scorer>::Register({"wanda_sp",
                                "mean_i |W_ij| ||X_j||_2 of the consumer's input columns",
                                "Sun et al. 2023, arXiv 2306.11695; structured: arXiv 2312.11983",
                                {"moments"},
                                {}},
                               [](const Options&) -> std::unique_ptr<Scorer> { return std::make_unique<WandaSp>(); });

}  // namespace
}  // namespace espalier
