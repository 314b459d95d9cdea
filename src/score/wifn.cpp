// FLAP's weighted input feature norm, An et al. 2023, arXiv 2312.11983: WIFN_j = mean_i |W_ij| ||X_j||_2. On w_down it
// is wanda_sp. On w_o FLAP's published code squares the metric before it standardises a block and averages a head's
// columns (the allocator `global` does both), so that a head is kept for its strongest columns: that is the difference.
#include <ATen/ATen.h>

#include "wanda.h"

namespace espalier {
namespace {

class Wifn final : public Scorer {
 public:
  at::Tensor Score(const ScoreInput& input) const override {
    return ScoreColumns(input, [](const ConsumerInput& consumer) {
      const at::Tensor score = WeightTimesNorm(consumer);  // [n]
      return consumer.role == Role::kO ? score.square() : score;
    });
  }
};

const bool kRegistered =
    Registry<Scorer>::Register({"wifn",
                                "wanda_sp, squared on the columns of w_o: FLAP's aggregation",
                                "FLAP, An et al. 2023, arXiv 2312.11983 and its published code",
                                {"moments"},
                                {}},
                               [](const Options&) -> std::unique_ptr<Scorer> { return std::make_unique<Wifn>(); });

}  // namespace
}  // namespace espalier
