#include "../../src/plan/knapsack.h"

#include <gtest/gtest.h>

#include <limits>

#include "espalier/core/random.h"

namespace espalier {
namespace {

using Groups = std::vector<std::vector<Level>>;

struct Total {
  int64_t saving = 0;
  double cost = 0;
};

Total Of(const Groups& groups, const std::vector<int64_t>& chosen) {
  Total total;
  for (size_t g = 0; g < groups.size(); ++g) {
    if (chosen[g] < 0) continue;
    const Level& level = groups[g].at(static_cast<size_t>(chosen[g]));
    total.saving += level.saving, total.cost += level.cost;
  }
  return total;
}

// Tries every choice.
Total BruteForce(const Groups& groups, int64_t target) {
  Total best{0, std::numeric_limits<double>::infinity()}, most;
  std::vector<int64_t> chosen(groups.size(), -1);
  for (;;) {
    const Total total = Of(groups, chosen);
    if (total.saving >= target && total.cost < best.cost) best = total;
    if (total.saving > most.saving || (total.saving == most.saving && total.cost < most.cost)) most = total;
    size_t g = 0;
    while (g < groups.size() && ++chosen[g] == static_cast<int64_t>(groups[g].size())) chosen[g++] = -1;
    if (g == groups.size()) return most.saving < target ? most : best;
  }
}

Groups RandomGroups(uint64_t seed, uint64_t largest) {
  uint64_t counter = 0;
  Groups groups(5);
  for (std::vector<Level>& levels : groups)
    for (uint64_t level = RandomBelow(5, seed, 0, counter++); level > 0; --level) {
      const auto saving = static_cast<int64_t>(1 + RandomBelow(largest, seed, 0, counter++));
      levels.push_back({saving, RandomUnit(seed, 0, counter++) - 0.2});  // measured rises may be below zero
    }
  return groups;
}

TEST(ChooseLevels, CostsWhatBruteForceFinds) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const Groups groups = RandomGroups(seed, 40);
    for (const int64_t target : {1, 17, 60, 90, 1000}) {
      const Total found = Of(groups, ChooseLevels(groups, target)), best = BruteForce(groups, target);
      EXPECT_NEAR(found.cost, best.cost, 1e-12) << seed << " " << target;
      EXPECT_GE(found.saving, std::min(target, best.saving));
    }
  }
}

TEST(ChooseLevels, StillReachesATargetThatItRounds) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Groups groups = RandomGroups(seed, 40'000'000);
    const int64_t target = 50'000'000;
    const Total found = Of(groups, ChooseLevels(groups, target)), best = BruteForce(groups, target);
    if (best.saving < target) continue;
    EXPECT_GE(found.saving, target * 0.999);
    EXPECT_GE(found.cost, best.cost - 1e-12);
    // No worse than the best choice that saves a thousandth more, whatever rounding lost.
    EXPECT_LE(found.cost, std::max(BruteForce(groups, target + target / 1000).cost, best.cost) + 1e-12);
  }
}

TEST(ChooseLevels, TakesNothingForATargetOfNothing) {
  EXPECT_EQ(ChooseLevels({{{5, -1}}}, 0), (std::vector<int64_t>{-1}));
  EXPECT_EQ(ChooseLevels({}, 10), std::vector<int64_t>{});
}

TEST(ChooseLevels, PrefersTheCheaperOfTwoWaysByHand) {
  // 10 by one level for 3, or by two of 5 for 1 + 1.
  EXPECT_EQ(ChooseLevels({{{5, 1}, {10, 3}}, {{5, 1}}}, 10), (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(ChooseLevels({{{5, 1}, {10, 1.5}}, {{5, 1}}}, 10), (std::vector<int64_t>{1, -1}));
}

}  // namespace
}  // namespace espalier
