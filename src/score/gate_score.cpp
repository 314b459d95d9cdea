// Mean score of a head's output gate over tokens, and over its channels when the gate is elementwise (Qiu et al. 2025,
// arXiv 2505.06708, who report it; pruning by it is ours): a head whose gate is nearly shut writes little. In models
// with learned sink logits the gate is sigmoid(logsumexp - sink logit), the same algebra. A KV group has the mean of
// its query heads. The score says how far the gate is open, not how much comes through. Statistics: attention. Every
// token counts.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "heads.h"

namespace espalier {
namespace {

class GateScore final : public Scorer {
 public:
  bool Scores(UnitKind kind) const override { return MadeOfHeads(kind); }

  at::Tensor Score(const ScoreInput& input) const override {
    const NamedSums& sums = BlockFor(input).attention;
    ESPALIER_CHECK(!sums.empty(), "gate_score needs calibration with attention");
    const auto found = sums.find("gate_score");
    if (found == sums.end())
      throw RecipeError(fmt::format(
          "prune.score: gate_score: block {} of this model has no output gate; choose another scorer", input.block));
    const auto tokens = static_cast<double>(input.statistics->sequences * input.statistics->length);
    return HeadsToUnits(input, "gate_score", found->second / tokens);  // [units, 1]
  }
};

const bool kRegistered =
    Registry<Scorer>::Register({"gate_score",
                                "Mean score of the head's output gate: the most shut go first",
                                "the score: Qiu et al. 2025, arXiv 2505.06708; pruning by it is ours",
                                {"attention"},
                                {}},
                               [](const Options&) -> std::unique_ptr<Scorer> { return std::make_unique<GateScore>(); });

}  // namespace
}  // namespace espalier
