#include "espalier/plan/allocator.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

namespace espalier {

std::vector<int64_t> Ascending(const at::Tensor& unit_score) {
  const auto value = unit_score.accessor<double, 1>();
  std::vector<int64_t> order(static_cast<size_t>(unit_score.size(0)));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return value[a] < value[b]; });
  return order;
}

int64_t RemoveInOrder(const std::vector<Unit>& order, int64_t target, Savings& savings, int64_t most) {
  int64_t saved = 0;
  for (bool again = true; again;) {
    again = false;
    for (const Unit& unit : order) {
      if (most == 0) return saved;
      const std::optional<int64_t> saving = savings.Of(unit);
      if (!saving || *saving > target - saved) continue;
      savings.Remove(unit);
      saved += *saving;
      --most;
      again = true;
    }
  }
  return saved;
}

}  // namespace espalier
