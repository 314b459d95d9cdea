// First- and second-order Taylor scores of LLM-Pruner (Ma et al. 2023, arXiv 2305.11627): with s = W o dL/dW and F the
// mean over sequences of squared gradients (the diagonal of the empirical Fisher matrix), over all weights of linear
// layers that a unit owns
//   first  sum |s|        second  sum W^2 F        mixed  sum |s - W^2 F / 2|.
// There 10 sequences and several ways to sum; here the sum over the unit of element-wise absolute values (their
// param_first, param_second, param_mix).
// Statistics: weight_gradients, all three orders in one calibration. Cost: a backward pass with weights' gradients,
// sequence by sequence.
#include <ATen/ATen.h>

#include <algorithm>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

const std::vector<std::string> kOrders = {"first", "second", "mixed"};  // columns of BlockStatistics::taylor

class Taylor final : public Scorer {
 public:
  explicit Taylor(const std::string& order)
      : order_(std::find(kOrders.begin(), kOrders.end(), order) - kOrders.begin()) {}

  bool Scores(UnitKind kind) const override { return !PerModel(kind); }

  at::Tensor Score(const ScoreInput& input) const override {
    return SumsFor(input, "taylor", &BlockStatistics::taylor).narrow(1, order_, 1);  // [units, 1]
  }

 private:
  int64_t order_;
};

const bool kRegistered = Registry<Scorer>::Register(
    {"taylor",
     "Weights times their gradients, summed over what the unit owns",
     "LLM-Pruner, Ma et al. 2023, arXiv 2305.11627",
     {"weight_gradients"},
     {TextOption("order", "first", "sum |W g|, sum W^2 g^2, or sum |W g - W^2 g^2 / 2|").OneOf(kOrders)}},
    [](const Options& options) -> std::unique_ptr<Scorer> { return std::make_unique<Taylor>(options.Text("order")); });

}  // namespace
}  // namespace espalier
