#include "espalier/plan/allocator.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

namespace espalier {

int64_t UnitGroup::Removable() const {
  const int64_t free = size() - static_cast<int64_t>(protected_units.size());
  return std::max<int64_t>(0, std::min(free, size() - minimum));
}

std::vector<int64_t> Ascending(const at::Tensor& unit_score) {
  const auto value = unit_score.accessor<double, 1>();
  std::vector<int64_t> order(static_cast<size_t>(unit_score.size(0)));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return value[a] < value[b]; });
  return order;
}

void RemoveInOrder(const std::vector<UnitGroup>& groups, const std::vector<Candidate>& order, int64_t target,
                   Allocation& allocation) {
  for (const Candidate& candidate : order) {
    const UnitGroup& group = groups[candidate.group];
    std::set<int64_t>& removed = allocation.removed[candidate.group];
    const auto gone = static_cast<int64_t>(removed.size());
    const int64_t saving = group.Saving(gone + 1) - group.Saving(gone);
    if (saving <= 0 || allocation.removed_cost + saving > target) continue;
    if (group.protected_units.contains(candidate.unit) || removed.contains(candidate.unit)) continue;
    if (gone >= group.size() - group.minimum) continue;
    removed.insert(candidate.unit);
    allocation.removed_cost += saving;
  }
}

}  // namespace espalier
