// FLAP's input feature variance, An et al. 2023, arXiv 2312.11983: IFV_j = Var_t(X_tj), the weights left out. WIFV
// (file wifv.cpp) multiplies it by sum_i W_ij^2; the two together say what the weights add. The variance is the exact
// one.
#include <ATen/ATen.h>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class Ifv final : public Scorer {
 public:
  explicit Ifv(bool square_attention) : square_attention_(square_attention) {}

  at::Tensor Score(const ScoreInput& input) const override {
    return ScoreColumns(input, [this](const ConsumerInput& consumer) {
      const at::Tensor variance = consumer.moments.Variance();  // [n]
      return square_attention_ && consumer.role == Role::kO ? variance.square() : variance;
    });
  }

 private:
  bool square_attention_;
};

const bool kRegistered = Registry<Scorer>::Register(
    {"ifv",
     "Variance of the consumer's input columns",
     "FLAP, An et al. 2023, arXiv 2312.11983",
     {"moments"},
     {BoolOption(
         "square_attention", false,
         "Square the columns of w_o, as FLAP's published code does before it standardises; its paper does not")}},
    [](const Options& options) -> std::unique_ptr<Scorer> {
      return std::make_unique<Ifv>(options.Bool("square_attention"));
    });

}  // namespace
}  // namespace espalier
