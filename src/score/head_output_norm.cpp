// Mean head-output norm, the score that finds most inactive heads in arXiv 2504.03889. There: the mean over tokens of
// the norm of a head's output (the input of w_o), normalised in its layer. Here, from moments: the root mean square
// over tokens of the norm over all columns of the unit,
//   sqrt(mean_t sum_{j in unit} X_tj^2),
// which is never below the mean norm and equals it when the norm is the same at every token; a head that is active on
// few tokens scores higher than by the paper's mean. A KV group is scored as a whole: the heads of a group go together.
// The analogue for an FFN channel is the norm of what it writes, sqrt(mean_t X_tj^2) ||W_:j||_2 (ours).
#include <ATen/ATen.h>

#include <algorithm>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class HeadOutputNorm final : public Scorer {
 public:
  explicit HeadOutputNorm(bool normalize) : normalize_(normalize) {}

  at::Tensor Score(const ScoreInput& input) const override {
    const at::Tensor energy = ScoreColumns(input, [](const ConsumerInput& consumer) {
      const at::Tensor mean_square = consumer.moments.PerToken(consumer.moments.SumOfSquares());  // [n]
      if (consumer.role == Role::kO) return mean_square;
      return mean_square * consumer.weight.to(at::kDouble).square().sum(0).cpu();
    });
    const at::Tensor score = energy.sum(1, /*keepdim=*/true).sqrt();  // [units, 1]
    const double mean = score.numel() > 0 ? score.mean().item<double>() : 0;
    // A block that writes nothing has no mean to divide by. Nor has one with a value that is not a number: dividing
    // would spread it over all units, and nobody could tell which one had it.
    // And the only unit of a block would always score 1.
    const bool alone = InfoOf(input.kind).scope == UnitScope::kSublayer;
    return normalize_ && !alone && mean > 0 ? score / mean : score;
  }

 private:
  bool normalize_;
};

const bool kRegistered = Registry<Scorer>::Register(
    {"head_output_norm",
     "Root mean square over tokens of the norm of the unit's output",
     "arXiv 2504.03889 (there the mean of the norm); FFN channels are ours",
     {"moments"},
     {BoolOption("normalize", true,
                 "Divide by the block's mean, so that blocks compare; no effect on allocators that standardise")}},
    [](const Options& options) -> std::unique_ptr<Scorer> {
      return std::make_unique<HeadOutputNorm>(options.Bool("normalize"));
    });

}  // namespace
}  // namespace espalier
