// Minus the mean attention to the first token, over queries from position 1 (arXiv 2601.06787, "garbage attention":
// heads that park their attention there write little of use, so the most sink-like go first). A KV group has the mean
// of its query heads (ours). What the measurements say: on SmolLM2-135M sink mass has no rank correlation with what a
// group costs (-0.04), and a head may attend to the first token and still write something that all others need.
// Statistics: attention (the probabilities are formed in full). Every token counts.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "heads.h"

namespace espalier {
namespace {

class SinkMass final : public Scorer {
 public:
  bool Scores(UnitKind kind) const override { return MadeOfHeads(kind); }

  at::Tensor Score(const ScoreInput& input) const override {
    const NamedSums& sums = BlockFor(input).attention;
    const auto found = sums.find("sink_mass");
    ESPALIER_CHECK(found != sums.end(), "sink_mass needs calibration with attention");
    const auto queries = static_cast<double>(input.statistics->sequences * (input.statistics->length - 1));
    return -HeadsToUnits(input, "sink_mass", found->second / queries);  // [units, 1]
  }
};

const bool kRegistered =
    Registry<Scorer>::Register({"sink_mass",
                                "Minus the mean attention to the first token: the strongest sinks go first",
                                "arXiv 2601.06787; groups are ours",
                                {"attention"},
                                {}},
                               [](const Options&) -> std::unique_ptr<Scorer> { return std::make_unique<SinkMass>(); });

}  // namespace
}  // namespace espalier
