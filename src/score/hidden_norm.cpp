// Stage 1 of 2SSP (arXiv 2501.17771): the mean over calibration samples of ||X_j||_2, X_j channel j over one sample's
// tokens. Calibration keeps moments over all tokens, not a norm per sample, so this is sqrt(sum_t X_tj^2), the form in
// which all tokens are one sample. The two rank alike when each channel spreads its energy over the samples in the same
// way; a channel that is active in few of S samples scores higher here, by up to sqrt(S). 2SSP scores FFN channels
// only; the columns of w_o are our extension.
//
// The fine score of CFSP (arXiv 2409.13199) ranks as this one does, which is why there is no scorer of that name: its
// published code divides |W_down| ||X||, |W_up| and |W_gate| by their sums over the residual channels, channel by
// channel, so that each of the three averages to 1 / C, and multiplies by ||X_j||_2: 3 / C ||X_j||_2 is left.
#include <ATen/ATen.h>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class HiddenNorm final : public Scorer {
 public:
  at::Tensor Score(const ScoreInput& input) const override {
    return ScoreColumns(input, [](const ConsumerInput& consumer) { return consumer.moments.SumOfSquares().sqrt(); });
  }
};

const bool kRegistered = Registry<Scorer>::Register(
    {"hidden_norm",
     "||X_j||_2 of the consumer's input columns over all calibration tokens",
     "2SSP stage 1, arXiv 2501.17771, with all tokens as one sample; w_o is ours",
     {"moments"},
     {}},
    [](const Options&) -> std::unique_ptr<Scorer> { return std::make_unique<HiddenNorm>(); });

}  // namespace
}  // namespace espalier
