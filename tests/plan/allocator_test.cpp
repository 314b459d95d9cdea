#include "espalier/plan/allocator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/core/random.h"
#include "support/support.h"

namespace espalier {
namespace {

using Sets = std::vector<std::set<int64_t>>;

UnitGroup Group(int64_t block, UnitKind kind, const std::vector<double>& scores, int64_t cost) {
  UnitGroup group;
  group.block = block;
  group.kind = kind;
  group.score = at::tensor(scores, at::kDouble).unsqueeze(1);
  group.cost = cost;
  return group;
}

UnitGroup Channels(int64_t block, const std::vector<double>& scores, int64_t cost = 1) {
  return Group(block, UnitKind::kFfnChannel, scores, cost);
}

std::unique_ptr<Allocator> Make(const std::string& name, std::map<std::string, OptionValue> options = {}) {
  return Registry<Allocator>::Create(name,
                                     Options(Registry<Allocator>::Find(name).info.options, std::move(options), "test"));
}

TEST(UnitGroup, LetsGoWhatIsNeitherProtectedNorItsMinimum) {
  UnitGroup group = Channels(0, {1, 2, 3, 4, 5}, 10);
  EXPECT_EQ(group.Removable(), 5);
  group.minimum = 2;
  EXPECT_EQ(group.Removable(), 3);
  group.protected_units = {0, 1, 2, 3};
  EXPECT_EQ(group.Removable(), 1);
  group.minimum = 9;
  EXPECT_EQ(group.Removable(), 0);
  group.opening = 4;
  EXPECT_EQ(group.Saving(0), 0);
  EXPECT_EQ(group.Saving(3), 26);
}

TEST(Ascending, PutsTiesInTheOrderOfTheirIndex) {
  EXPECT_EQ(Ascending(at::tensor({2.0, 1.0, 2.0, 0.0}, at::kDouble)), (std::vector<int64_t>{3, 1, 0, 2}));
}

TEST(RemoveInOrder, SkipsWhatDoesNotFitAndFillsTheGapWithSmallerUnits) {
  // Costs 5 and 2, target 8: a unit of 5 goes, the next would make 10; one of 2 makes 7; the next would make 9.
  const std::vector<UnitGroup> groups = {Channels(0, {0, 0}, 5), Channels(1, {0, 0}, 2)};
  Allocation allocation{Sets(2), 0};
  RemoveInOrder(groups, {{0, 0, 0}, {0, 0, 1}, {0, 1, 0}, {0, 1, 1}}, 8, allocation);
  EXPECT_EQ(allocation.removed, (Sets{{0}, {0}}));
  EXPECT_EQ(allocation.removed_cost, 7);
}

TEST(RemoveInOrder, CountsTheOpeningOfAGroupOnce) {
  // Each unit saves 5, the first of the group 5 - 3: 2, 7, 12.
  std::vector<UnitGroup> groups = {Channels(0, {0, 0, 0}, 5)};
  groups[0].opening = 3;
  Allocation allocation{Sets(1), 0};
  RemoveInOrder(groups, {{0, 0, 0}, {0, 0, 1}, {0, 0, 2}}, 11, allocation);
  EXPECT_EQ(allocation.removed, (Sets{{0, 1}}));
  EXPECT_EQ(allocation.removed_cost, 7);
}

TEST(RemoveInOrder, RemovesNothingThatSavesNothing) {
  // Under the key/value budget an FFN channel costs nothing: cutting it would be damage for no gain.
  const std::vector<UnitGroup> groups = {Channels(0, {0, 0}, 0)};
  Allocation allocation{Sets(1), 0};
  RemoveInOrder(groups, {{0, 0, 0}}, 8, allocation);
  EXPECT_EQ(allocation.removed, (Sets{{}}));
}

TEST(GlobalAllocator, RanksZScoresAcrossBlocksByHand) {
  // Block 0: 10, 11, 12: z -1.22, 0, 1.22. Block 1: 100, 300, 500, 500: mean 350, deviation sqrt(27500) = 165.8,
  // z -1.51, -0.30, 0.90, 0.90. Ascending: (1, 0), (0, 0), (1, 1), (0, 1), (1, 2), (1, 3), (0, 2).
  const std::vector<UnitGroup> groups = {Channels(0, {10, 11, 12}), Channels(1, {100, 300, 500, 500})};
  EXPECT_EQ(Make("global")->Allocate(groups, 1).removed, (Sets{{}, {0}}));
  EXPECT_EQ(Make("global")->Allocate(groups, 3).removed, (Sets{{0}, {0, 1}}));
  EXPECT_EQ(Make("global")->Allocate(groups, 5).removed, (Sets{{0, 1}, {0, 1, 2}}));
  // Raw scores are not comparable: block 0 would lose everything first.
  EXPECT_EQ(Make("global", {{"normalize", std::string("none")}})->Allocate(groups, 3).removed, (Sets{{0, 1, 2}, {}}));
}

TEST(GlobalAllocator, TakesTheMeanOfTheZScoresOfAUnitsParts) {
  // Parts (0, 6), (2, 2), (4, 4): mean 3, so the units' mean z are 0, -1 / s, 1 / s: the second goes first.
  UnitGroup group = Channels(0, {0});
  group.score = at::tensor({0.0, 6.0, 2.0, 2.0, 4.0, 4.0}, at::kDouble).view({3, 2});
  EXPECT_EQ(Make("global")->Allocate({group}, 1).removed, (Sets{{1}}));
  EXPECT_EQ(Make("global")->Allocate({group}, 2).removed, (Sets{{0, 1}}));
}

TEST(GlobalAllocator, TreatsEqualScoresAsAverage) {
  const std::vector<UnitGroup> groups = {Channels(0, {5, 5}), Channels(1, {1, 9})};  // z 0, 0 and -1, 1
  EXPECT_EQ(Make("global")->Allocate(groups, 3).removed, (Sets{{0, 1}, {0}}));
}

TEST(UniformAllocator, TakesTheSameShareOfEveryBlock) {
  // Half of 4 and of 6, the least important ones, whatever the scale of their block.
  const std::vector<UnitGroup> groups = {Channels(0, {4, 3, 2, 1}), Channels(1, {600, 100, 200, 300, 500, 400})};
  EXPECT_EQ(Make("uniform")->Allocate(groups, 5).removed, (Sets{{2, 3}, {1, 2, 3}}));
}

TEST(UniformAllocator, LetsChannelsMakeUpForGroupsThatCannotLoseAFraction) {
  // Two blocks of 3 groups of 8 and 12 channels of 1, together 72; a third is 24, 12 a block: one group of 3, then 4
  // of 12.
  std::vector<UnitGroup> groups;
  for (int64_t block = 0; block < 2; ++block) {
    groups.push_back(Group(block, UnitKind::kKvGroup, {3, 1, 2}, 8));
    groups.push_back(Channels(block, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  }
  const Allocation third = Make("uniform")->Allocate(groups, 24);
  EXPECT_EQ(third.removed_cost, 24);
  EXPECT_EQ(third.removed, (Sets{{1}, {0, 1, 2, 3}, {1}, {0, 1, 2, 3}}));
  // A sixth, 6 a block: half a group is none, so six channels go.
  EXPECT_EQ(Make("uniform")->Allocate(groups, 12).removed, (Sets{{}, {0, 1, 2, 3, 4, 5}, {}, {0, 1, 2, 3, 4, 5}}));
}

TEST(UniformAllocator, FillsUpRoundAfterRoundWhereABlockIsProtected) {
  // Block 0 may lose one only: the other two give what it keeps, one each in turn.
  std::vector<UnitGroup> groups = {Channels(0, {1, 2, 3, 4}), Channels(1, {1, 2, 3, 4}), Channels(2, {1, 2, 3, 4})};
  groups[0].protected_units = {0, 1, 2};
  EXPECT_EQ(Make("uniform")->Allocate(groups, 7).removed, (Sets{{3}, {0, 1, 2}, {0, 1, 2}}));
}

// Random groups with protection, minimums and openings.
std::vector<UnitGroup> RandomGroups(uint64_t seed) {
  uint64_t counter = 0;
  const auto below = [&](uint64_t n) { return static_cast<int64_t>(RandomBelow(n, seed, 0, counter++)); };
  std::vector<UnitGroup> groups;
  for (int64_t block = 0; block < 4; ++block)
    for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel}) {
      const bool wide = kind == UnitKind::kFfnChannel;
      std::vector<double> scores(static_cast<size_t>(wide ? 5 + below(20) : 1 + below(4)));
      for (double& score : scores) score = static_cast<double>(below(1000));
      UnitGroup group = Group(block, kind, scores, wide ? 48 : 384);
      group.minimum = below(2);
      group.opening = 16;
      for (int64_t i = below(3); i > 0; --i) group.protected_units.insert(below(scores.size()));
      groups.push_back(group);
    }
  return groups;
}

class EveryAllocator : public testing::TestWithParam<std::string> {};

TEST_P(EveryAllocator, NeverExceedsTheTargetAndLeavesNoUnitThatWouldFit) {
  const auto allocator = Registry<Allocator>::Create(GetParam());
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const std::vector<UnitGroup> groups = RandomGroups(seed);
    int64_t reach = 0;
    for (const UnitGroup& group : groups) reach += group.Saving(group.Removable());
    for (const double share : {0.0, 0.1, 0.33, 0.5, 0.9, 1.0}) {
      const auto target = static_cast<int64_t>(share * static_cast<double>(reach));
      const Allocation allocation = allocator->Allocate(groups, target);
      ASSERT_EQ(allocation.removed.size(), groups.size());
      int64_t saved = 0;
      for (size_t g = 0; g < groups.size(); ++g) {
        const auto gone = static_cast<int64_t>(allocation.removed[g].size());
        saved += groups[g].Saving(gone);
        EXPECT_LE(gone, groups[g].size() - groups[g].minimum);
        for (const int64_t unit : allocation.removed[g]) EXPECT_FALSE(groups[g].protected_units.contains(unit));
      }
      EXPECT_EQ(saved, allocation.removed_cost);
      EXPECT_LE(saved, target);
      for (size_t g = 0; g < groups.size(); ++g) {
        const auto gone = static_cast<int64_t>(allocation.removed[g].size());
        if (gone < groups[g].Removable()) {
          EXPECT_GT(saved + groups[g].Saving(gone + 1) - groups[g].Saving(gone), target) << seed << " " << share;
        }
      }
      EXPECT_EQ(allocator->Allocate(groups, target).removed, allocation.removed);
    }
  }
}

TEST_P(EveryAllocator, TakesTheLeastImportantUnitsOfAGroup) {
  const auto allocator = Registry<Allocator>::Create(GetParam());
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<UnitGroup> groups = RandomGroups(seed);
    const Allocation allocation = allocator->Allocate(groups, 1000);
    for (size_t g = 0; g < groups.size(); ++g) {
      const at::Tensor score = groups[g].score.select(1, 0);
      double highest_gone = -1, lowest_kept = 1e9;
      for (int64_t unit = 0; unit < groups[g].size(); ++unit) {
        if (groups[g].protected_units.contains(unit)) continue;
        const double value = score[unit].item<double>();
        if (allocation.removed[g].contains(unit))
          highest_gone = std::max(highest_gone, value);
        else
          lowest_kept = std::min(lowest_kept, value);
      }
      EXPECT_LE(highest_gone, lowest_kept);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryAllocator, testing::ValuesIn(Registry<Allocator>::Names()),
                         [](const testing::TestParamInfo<std::string>& test) { return test.param; });

}  // namespace
}  // namespace espalier
