// One ranking over all blocks and kinds, as FLAP does (An et al. 2023, arXiv 2312.11983, "AL-AM"): scores are
// standardised within each block and kind, a unit of several columns takes the mean of their z-scores, the lowest go
// first. Without the standardisation blocks are not comparable, and a global ranking destroys the model.
#include <ATen/ATen.h>

#include <algorithm>

#include "espalier/plan/allocator.h"

namespace espalier {
namespace {

at::Tensor Standardised(const at::Tensor& score) {
  const double deviation = score.std(/*unbiased=*/false).item<double>();
  return deviation > 0 ? (score - score.mean()) / deviation : at::zeros_like(score);
}

class Global final : public Allocator {
 public:
  explicit Global(const std::string& normalize) : standardise_(normalize == "zscore"), per_cost_(normalize == "cost") {}

  Allocation Allocate(const std::vector<UnitGroup>& groups, int64_t target) const override {
    std::vector<Candidate> order;
    for (size_t g = 0; g < groups.size(); ++g) {
      const at::Tensor score =
          (standardise_ ? Standardised(groups[g].score) : groups[g].score).mean(1).contiguous();  // [units]
      const auto value = score.accessor<double, 1>();
      const double scale = per_cost_ && groups[g].cost > 0 ? 1 / static_cast<double>(groups[g].cost) : 1;
      for (int64_t unit = 0; unit < groups[g].size(); ++unit) order.push_back({scale * value[unit], g, unit});
    }
    std::stable_sort(order.begin(), order.end(),
                     [](const Candidate& a, const Candidate& b) { return a.score < b.score; });
    Allocation allocation{std::vector<std::set<int64_t>>(groups.size()), 0};
    RemoveInOrder(groups, order, target, allocation);
    return allocation;
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
          "divided by what the unit costs in the budget; none is for showing that it is needed")
          .OneOf({"zscore", "cost", "none"})}},
    [](const Options& options) -> std::unique_ptr<Allocator> {
      return std::make_unique<Global>(options.Text("normalize"));
    });

}  // namespace
}  // namespace espalier
