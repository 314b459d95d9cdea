// One ranking over all blocks and kinds, as FLAP does (An et al. 2023, arXiv 2312.11983, "AL-AM"): scores are
// standardised within each block and kind, a unit of several columns takes the mean of their z-scores, the lowest go
// first. Without the standardisation blocks are not comparable, and a global ranking destroys the model. Sublayers and
// blocks, one a block, are standardised among their kind.
#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "espalier/plan/allocator.h"

namespace espalier {
namespace {

// What a group's scores are compared with: those of the group, or of all groups of its kind.
struct Scale {
  double mean = 0, deviation = 0;
};

Scale ScaleOf(const at::Tensor& score) {
  return {score.mean().item<double>(), score.std(/*unbiased=*/false).item<double>()};
}

at::Tensor Standardised(const at::Tensor& score, const Scale& scale) {
  return scale.deviation > 0 ? (score - scale.mean) / scale.deviation : at::zeros_like(score);
}

// Of the kinds that a block has one of.
std::map<UnitKind, Scale> SublayerScales(const std::vector<UnitGroup>& groups) {
  std::map<UnitKind, std::vector<at::Tensor>> scores;
  for (const UnitGroup& group : groups)
    if (InfoOf(group.kind).scope == UnitScope::kSublayer) scores[group.kind].push_back(group.score.flatten());
  std::map<UnitKind, Scale> scales;
  for (const auto& [kind, values] : scores) scales[kind] = ScaleOf(at::cat(values));
  return scales;
}

struct Candidate {
  double score = 0;
  Unit unit;
};

class Global final : public Allocator {
 public:
  explicit Global(const std::string& normalize) : standardise_(normalize == "zscore"), per_cost_(normalize == "cost") {}

  int64_t Allocate(const AllocationInput& input, Savings& savings) const override {
    const std::map<UnitKind, Scale> sublayers = SublayerScales(input.groups);
    std::vector<Candidate> candidates;
    for (const UnitGroup& group : input.groups) {
      const auto shared = sublayers.find(group.kind);
      const Scale scale = shared == sublayers.end() ? ScaleOf(group.score) : shared->second;
      const at::Tensor score =
          (standardise_ ? Standardised(group.score, scale) : group.score).mean(1).contiguous();  // [units]
      const auto value = score.accessor<double, 1>();
      for (int64_t unit = 0; unit < group.size(); ++unit) {
        const int64_t alone = per_cost_ ? savings.Alone(group.At(unit)) : 1;
        candidates.push_back({alone > 0 ? value[unit] / static_cast<double>(alone) : value[unit], group.At(unit)});
      }
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.score < b.score; });
    std::vector<Unit> order;
    for (const Candidate& candidate : candidates) order.push_back(candidate.unit);
    return RemoveInOrder(order, input.target, savings);
  }

 private:
  bool standardise_, per_cost_;
};

const bool kRegistered = Registry<Allocator>::Register(
    {"global",
     "One ranking over all blocks, of scores standardised within each block and kind",
     "FLAP, arXiv 2312.11983",
     {},
     {TextOption(
          "normalize", "zscore",
          "How units are made comparable: zscore within block and kind; cost: scores that are in units of the loss, "
          "divided by what the unit alone saves in the budget; none is for showing that it is needed")
          .OneOf({"zscore", "cost", "none"})}},
    [](const Options& options) -> std::unique_ptr<Allocator> {
      return std::make_unique<Global>(options.Text("normalize"));
    });

}  // namespace
}  // namespace espalier
