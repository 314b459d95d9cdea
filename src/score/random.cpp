// The floor of every comparison: a method that does not beat this has found nothing.
#include "espalier/core/random.h"

#include <ATen/ATen.h>

#include "espalier/score/scorer.h"

namespace espalier {
namespace {

class Random final : public Scorer {
 public:
  explicit Random(int64_t seed) : seed_(static_cast<uint64_t>(seed)) {}

  bool Scores(UnitKind) const override { return true; }

  at::Tensor Score(const ScoreInput& input) const override {
    const int64_t units = UnitSpace(input.model, input.block, input.kind).size();
    // One stream for each block and kind, the unit is the counter: a draw depends on the unit's name and nothing else.
    // KV groups and FFN channels have the streams that earlier versions gave them.
    const auto block = static_cast<uint64_t>(input.block + 1), kind = static_cast<uint64_t>(input.kind);
    const uint64_t stream = input.kind == UnitKind::kKvGroup      ? 2 * (block - 1)
                            : input.kind == UnitKind::kFfnChannel ? 2 * (block - 1) + 1
                                                                  : (kind << 32U) + block;
    at::Tensor score = at::empty({units, 1}, at::kDouble);
    auto* const value = score.mutable_data_ptr<double>();
    for (int64_t unit = 0; unit < units; ++unit) value[unit] = RandomUnit(seed_, stream, static_cast<uint64_t>(unit));
    return score;
  }

 private:
  uint64_t seed_;
};

const bool kRegistered = Registry<Scorer>::Register(
    {"random",
     "Uniform draw in [0, 1) for each unit: the floor of every comparison",
     "ours",
     {},
     {IntOption("seed", 0, "Seed of the draws; another seed, another order").AtLeast(0)}},
    [](const Options& options) -> std::unique_ptr<Scorer> { return std::make_unique<Random>(options.Int("seed")); });

}  // namespace
}  // namespace espalier
