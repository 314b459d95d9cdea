// Dynamic programming over what has been saved so far, up to the target (Sinha and Zoltners 1979 for the problem).
#include "knapsack.h"

#include <algorithm>
#include <limits>

namespace espalier {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Of one group: what the state was before it, and the level that was taken.
struct Step {
  int64_t before = 0, level = -1;
};

// Savings beyond the target are worth nothing: they are counted as the target.
std::vector<Step> Advance(const std::vector<Level>& levels, int64_t target, int64_t parts, std::vector<double>& cost) {
  std::vector<Step> steps(cost.size());
  for (int64_t saved = 0; saved <= parts; ++saved) steps[static_cast<size_t>(saved)].before = saved;
  std::vector<double> best = cost;
  for (size_t level = 0; level < levels.size(); ++level) {
    const double exact = static_cast<double>(levels[level].saving) * static_cast<double>(parts);
    const auto saving = static_cast<int64_t>(exact / static_cast<double>(target));
    for (int64_t saved = 0; saved <= parts; ++saved) {
      const int64_t now = std::min(parts, saved + saving);
      const double total = cost[static_cast<size_t>(saved)] + levels[level].cost;
      if (total >= best[static_cast<size_t>(now)]) continue;
      best[static_cast<size_t>(now)] = total;
      steps[static_cast<size_t>(now)] = {saved, static_cast<int64_t>(level)};
    }
  }
  cost = best;
  return steps;
}

}  // namespace

std::vector<int64_t> ChooseLevels(const std::vector<std::vector<Level>>& groups, int64_t target, int64_t resolution) {
  std::vector<int64_t> chosen(groups.size(), -1);
  const int64_t parts = std::min(target, resolution);
  if (parts <= 0) return chosen;
  std::vector<double> cost(static_cast<size_t>(parts) + 1, kInfinity);
  cost[0] = 0;
  std::vector<std::vector<Step>> steps;
  for (const std::vector<Level>& levels : groups) steps.push_back(Advance(levels, target, parts, cost));
  int64_t saved = parts;
  while (cost[static_cast<size_t>(saved)] == kInfinity) --saved;
  for (size_t group = groups.size(); group-- > 0;) {
    const Step& step = steps[group][static_cast<size_t>(saved)];
    chosen[group] = step.level;
    saved = step.before;
  }
  return chosen;
}

}  // namespace espalier
