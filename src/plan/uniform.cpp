// The same share of every block. Groups of few units cannot lose a fraction of one: they lose the whole number below
// it, and the block's cheaper units make up for the rest, so that every block loses the same cost.
#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "espalier/plan/allocator.h"

namespace espalier {
namespace {

class Uniform final : public Allocator {
 public:
  Allocation Allocate(const std::vector<UnitGroup>& groups, int64_t target) const override {
    Allocation allocation{std::vector<std::set<int64_t>>(groups.size()), 0};
    double total = 0;
    std::map<int64_t, std::vector<size_t>> by_block;
    for (size_t g = 0; g < groups.size(); ++g) {
      total += static_cast<double>(groups[g].size() * groups[g].cost);
      by_block[groups[g].block].push_back(g);
    }
    const double share = total > 0 ? static_cast<double>(target) / total : 0;
    for (auto& [block, members] : by_block) RemoveShare(groups, members, share, allocation);
    FillUp(groups, target, allocation);
    return allocation;
  }

 private:
  // Dearest kind first: what it cannot lose exactly, the cheaper kinds of the block can.
  static void RemoveShare(const std::vector<UnitGroup>& groups, std::vector<size_t> members, double share,
                          Allocation& allocation) {
    std::stable_sort(members.begin(), members.end(),
                     [&](size_t a, size_t b) { return groups[a].cost > groups[b].cost; });
    double due = 0;
    for (const size_t g : members) due += share * static_cast<double>(groups[g].size() * groups[g].cost);
    for (const size_t g : members) {
      const UnitGroup& group = groups[g];
      if (group.cost <= 0) continue;
      const bool last = g == members.back();
      const double wanted = last ? (due + static_cast<double>(group.opening)) / static_cast<double>(group.cost)
                                 : share * static_cast<double>(group.size());
      const auto count = std::min(static_cast<int64_t>(wanted), group.Removable());
      std::vector<Candidate> order;
      for (const int64_t unit : Ascending(group.score.mean(1).contiguous())) order.push_back({0, g, unit});
      const int64_t before = allocation.removed_cost;
      RemoveInOrder(groups, order, before + group.Saving(count), allocation);
      due -= static_cast<double>(allocation.removed_cost - before);
    }
  }

  // Rounding down leaves a little: one more unit per group, cheapest kinds first, round after round.
  static void FillUp(const std::vector<UnitGroup>& groups, int64_t target, Allocation& allocation) {
    std::vector<size_t> cheapest(groups.size());
    for (size_t g = 0; g < groups.size(); ++g) cheapest[g] = g;
    std::stable_sort(cheapest.begin(), cheapest.end(),
                     [&](size_t a, size_t b) { return groups[a].cost < groups[b].cost; });
    std::vector<std::vector<int64_t>> order;
    for (const UnitGroup& group : groups) order.push_back(Ascending(group.score.mean(1).contiguous()));
    for (int64_t before = -1; before != allocation.removed_cost;) {
      before = allocation.removed_cost;
      for (const size_t g : cheapest) {
        const auto gone = static_cast<int64_t>(allocation.removed[g].size());
        const int64_t one_more = allocation.removed_cost + groups[g].Saving(gone + 1) - groups[g].Saving(gone);
        if (one_more > target) continue;
        std::vector<Candidate> candidates;
        for (const int64_t unit : order[g]) candidates.push_back({0, g, unit});
        RemoveInOrder(groups, candidates, one_more, allocation);
      }
    }
  }
};

const bool kRegistered = Registry<Allocator>::Register(
    {"uniform", "The same share of every block", "Wanda-sp, LLM-Pruner", {}, {}},
    [](const Options&) -> std::unique_ptr<Allocator> { return std::make_unique<Uniform>(); });

}  // namespace
}  // namespace espalier
