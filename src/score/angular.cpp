// Angular distance, Gromov et al. 2024, arXiv 2403.17887: arccos(cos(h_in, h_out)) / pi, the residual stream before and
// after the sublayer or block. The paper takes the last token of each sequence, which a causal model has seen
// everything before, and removes n consecutive blocks by one distance across all n; here each is judged alone. tokens:
// counted takes the mean over all tokens that calibration counts. Statistics: influence, no gradients.
#include <ATen/ATen.h>

#include "stream_influence.h"

namespace espalier {
namespace {

class Angular final : public Scorer {
 public:
  explicit Angular(bool last) : last_(last) {}
  bool Scores(UnitKind kind) const override { return TurnsTheStream(kind); }
  at::Tensor Score(const ScoreInput& input) const override {
    const StreamInfluence influence = InfluenceFor(input);
    return at::full({1, 1}, last_ ? influence.last_angle : influence.angle, at::kDouble);
  }

 private:
  bool last_;
};

const bool kRegistered = Registry<Scorer>::Register(
    {"angular",
     "Angle between the residual stream before and after the sublayer or block, over pi",
     "Gromov et al. 2024, arXiv 2403.17887",
     {"influence"},
     {TextOption("tokens", "last", "Mean over each sequence's last token, as in the paper, or over counted tokens")
          .OneOf({"last", "counted"})}},
    [](const Options& options) -> std::unique_ptr<Scorer> {
      return std::make_unique<Angular>(options.Text("tokens") == "last");
    });

}  // namespace
}  // namespace espalier
