#include "espalier/plan/allocator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "espalier/core/error.h"
#include "espalier/core/random.h"
#include "support/allocators.h"
#include "support/support.h"

namespace espalier {
namespace {

using Sets = std::vector<std::set<int64_t>>;

// A group whose units cost the same, with what the ledger would know of it.
struct Lot {
  UnitGroup group;
  int64_t cost = 0;     // of one unit
  int64_t opening = 0;  // what the first one that goes adds: the bias of compensation
  int64_t minimum = 0;  // units that stay in any case
  std::set<int64_t> protected_units{};

  int64_t Removable() const {
    const int64_t free = group.size() - static_cast<int64_t>(protected_units.size());
    return std::max<int64_t>(0, std::min(free, group.size() - minimum));
  }
  int64_t Saving(int64_t units) const { return units > 0 ? units * cost - opening : 0; }
};

// Savings of units that do not overlap: simple arithmetic.
class Lots final : public Savings {
 public:
  explicit Lots(std::vector<Lot> lots) : lots_(std::move(lots)), removed_(lots_.size()) {}

  std::unique_ptr<Savings> Clone() const override { return std::make_unique<Lots>(*this); }
  std::optional<int64_t> Of(const Unit& unit) const override {
    const size_t g = Find(unit);
    const auto gone = std::ssize(removed_[g]);
    if (removed_[g].contains(unit.index) || lots_[g].protected_units.contains(unit.index)) return std::nullopt;
    if (gone >= lots_[g].group.size() - lots_[g].minimum) return std::nullopt;
    const int64_t saving = lots_[g].Saving(gone + 1) - lots_[g].Saving(gone);
    return saving > 0 ? std::optional(saving) : std::nullopt;
  }
  void Remove(const Unit& unit) override { removed_[Find(unit)].insert(unit.index); }
  int64_t Alone(const Unit& unit) const override { return lots_[Find(unit)].cost; }

  std::vector<UnitGroup> Groups() const {
    std::vector<UnitGroup> groups;
    for (const Lot& lot : lots_) groups.push_back(lot.group);
    return groups;
  }
  const Sets& removed() const { return removed_; }

 private:
  size_t Find(const Unit& unit) const {
    for (size_t g = 0; g < lots_.size(); ++g)
      if (lots_[g].group.block == unit.block && lots_[g].group.kind == unit.kind) return g;
    throw InternalError("no such group");
  }

  std::vector<Lot> lots_;
  Sets removed_;
};

Lot Group(int64_t block, UnitKind kind, const std::vector<double>& scores, int64_t cost) {
  Lot lot;
  lot.group = {block, kind, at::tensor(scores, at::kDouble).unsqueeze(1)};
  lot.cost = cost;
  return lot;
}

Lot Channels(int64_t block, const std::vector<double>& scores, int64_t cost = 1) {
  return Group(block, UnitKind::kFfnChannel, scores, cost);
}

std::vector<Unit> InTurn(const std::vector<UnitGroup>& groups) {
  std::vector<Unit> order;
  for (const UnitGroup& group : groups)
    for (int64_t unit = 0; unit < group.size(); ++unit) order.push_back(group.At(unit));
  return order;
}

std::unique_ptr<Allocator> Make(const std::string& name, std::map<std::string, OptionValue> options = {}) {
  return Registry<Allocator>::Create(name,
                                     Options(Registry<Allocator>::Find(name).info.options, std::move(options), "test"));
}

// What an allocator removes of these lots.
Sets Removed(const Allocator& allocator, const std::vector<Lot>& lots, int64_t target) {
  Lots savings(lots);
  allocator.Allocate({savings.Groups(), target}, savings);
  return savings.removed();
}

TEST(Ascending, PutsTiesInTheOrderOfTheirIndex) {
  EXPECT_EQ(Ascending(at::tensor({2.0, 1.0, 2.0, 0.0}, at::kDouble)), (std::vector<int64_t>{3, 1, 0, 2}));
}

TEST(RemoveInOrder, SkipsWhatDoesNotFitAndFillsTheGapWithSmallerUnits) {
  // Costs 5 and 2, target 8: a unit of 5 goes, the next would make 10; one of 2 makes 7; the next would make 9.
  Lots savings({Channels(0, {0, 0}, 5), Channels(1, {0, 0}, 2)});
  EXPECT_EQ(RemoveInOrder(InTurn(savings.Groups()), 8, savings), 7);
  EXPECT_EQ(savings.removed(), (Sets{{0}, {0}}));
}

TEST(RemoveInOrder, CountsTheOpeningOfAGroupOnce) {
  // Each unit saves 5, the first of the group 5 - 3: 2, 7, 12.
  Lot lot = Channels(0, {0, 0, 0}, 5);
  lot.opening = 3;
  Lots savings({lot});
  EXPECT_EQ(RemoveInOrder(InTurn(savings.Groups()), 11, savings), 7);
  EXPECT_EQ(savings.removed(), (Sets{{0, 1}}));
}

TEST(RemoveInOrder, RemovesNothingThatSavesNothing) {
  // Under the key/value budget an FFN channel costs nothing: cutting it would be damage for no gain.
  Lots savings({Channels(0, {0, 0}, 0)});
  EXPECT_EQ(RemoveInOrder(InTurn(savings.Groups()), 8, savings), 0);
  EXPECT_EQ(savings.removed(), (Sets{{}}));
}

TEST(RemoveInOrder, StopsAtTheMostThatItMayRemove) {
  Lots savings({Channels(0, {0, 0, 0}, 2)});
  EXPECT_EQ(RemoveInOrder(InTurn(savings.Groups()), 8, savings, 2), 4);
}

TEST(RemoveInOrder, ComesBackToWhatCostsLessOnceOthersHaveGone) {
  // Of 8: unit 0 costs 9 and is skipped, unit 1 goes for 5, and with it gone unit 0 costs 3.
  class SkippedFirst final : public Savings {
   public:
    std::unique_ptr<Savings> Clone() const override { return std::make_unique<SkippedFirst>(*this); }
    std::optional<int64_t> Of(const Unit& unit) const override {
      if (gone_.contains(unit.index)) return std::nullopt;
      return unit.index == 0 ? (gone_.contains(1) ? 3 : 9) : 5;
    }
    void Remove(const Unit& unit) override { gone_.insert(unit.index); }
    int64_t Alone(const Unit&) const override { return 5; }

   private:
    std::set<int64_t> gone_;
  } savings;
  EXPECT_EQ(RemoveInOrder({{0, UnitKind::kFfnChannel, 0}, {0, UnitKind::kFfnChannel, 1}}, 8, savings), 8);
}

TEST(GlobalAllocator, RanksZScoresAcrossBlocksByHand) {
  // Block 0: 10, 11, 12: z -1.22, 0, 1.22. Block 1: 100, 300, 500, 500: mean 350, deviation sqrt(27500) = 165.8,
  // z -1.51, -0.30, 0.90, 0.90. Ascending: (1, 0), (0, 0), (1, 1), (0, 1), (1, 2), (1, 3), (0, 2).
  const std::vector<Lot> groups = {Channels(0, {10, 11, 12}), Channels(1, {100, 300, 500, 500})};
  EXPECT_EQ(Removed(*Make("global"), groups, 1), (Sets{{}, {0}}));
  EXPECT_EQ(Removed(*Make("global"), groups, 3), (Sets{{0}, {0, 1}}));
  EXPECT_EQ(Removed(*Make("global"), groups, 5), (Sets{{0, 1}, {0, 1, 2}}));
  // Raw scores are not comparable: block 0 would lose everything first.
  EXPECT_EQ(Removed(*Make("global", {{"normalize", std::string("none")}}), groups, 3), (Sets{{0, 1, 2}, {}}));
}

TEST(GlobalAllocator, TakesTheMeanOfTheZScoresOfAUnitsParts) {
  // Parts (0, 6), (2, 2), (4, 4): mean 3, so the units' mean z are 0, -1 / s, 1 / s: the second goes first.
  Lot group = Channels(0, {0});
  group.group.score = at::tensor({0.0, 6.0, 2.0, 2.0, 4.0, 4.0}, at::kDouble).view({3, 2});
  EXPECT_EQ(Removed(*Make("global"), {group}, 1), (Sets{{1}}));
  EXPECT_EQ(Removed(*Make("global"), {group}, 2), (Sets{{0, 1}}));
}

TEST(GlobalAllocator, TreatsEqualScoresAsAverage) {
  const std::vector<Lot> groups = {Channels(0, {5, 5}), Channels(1, {1, 9})};  // z 0, 0 and -1, 1
  EXPECT_EQ(Removed(*Make("global"), groups, 3), (Sets{{0, 1}, {0}}));
}

TEST(GlobalAllocator, StandardisesSublayersAmongTheirKind) {
  // One a block: among themselves 100, 300 and 500 are z -1.22, 0, 1.22; alone in its block each would be 0. Channels
  // 1, 2, 3: -1.22, 0, 1.22. Ties by order.
  const std::vector<Lot> groups = {Group(0, UnitKind::kAttention, {500}, 1), Group(1, UnitKind::kAttention, {100}, 1),
                                   Group(2, UnitKind::kAttention, {300}, 1), Channels(0, {1, 2, 3})};
  EXPECT_EQ(Removed(*Make("global"), groups, 2), (Sets{{}, {0}, {}, {0}}));
  EXPECT_EQ(Removed(*Make("global"), groups, 4), (Sets{{}, {0}, {0}, {0, 1}}));
}

TEST(GlobalAllocator, DividesAScoreInUnitsOfTheLossByWhatTheUnitAloneSaves) {
  // Attention 0: 60 / 10 = 6; channels: 5 / 1, 7 / 1.
  const std::vector<Lot> groups = {Group(0, UnitKind::kAttention, {60}, 10), Channels(0, {7, 5})};
  const auto allocator = Make("global", {{"normalize", std::string("cost")}});
  EXPECT_EQ(Removed(*allocator, groups, 11), (Sets{{0}, {1}}));
  EXPECT_EQ(Removed(*allocator, groups, 1), (Sets{{}, {1}}));
}

TEST(UniformAllocator, TakesTheSameShareOfEveryBlock) {
  // Half of 4 and of 6, the least important ones, whatever the scale of their block.
  const std::vector<Lot> groups = {Channels(0, {4, 3, 2, 1}), Channels(1, {600, 100, 200, 300, 500, 400})};
  EXPECT_EQ(Removed(*Make("uniform"), groups, 5), (Sets{{2, 3}, {1, 2, 3}}));
}

TEST(UniformAllocator, LetsChannelsMakeUpForGroupsThatCannotLoseAFraction) {
  // Two blocks of 3 groups of 8 and 12 channels of 1, together 72; a third is 24, 12 a block: one group of 3, then 4
  // of 12.
  std::vector<Lot> groups;
  for (int64_t block = 0; block < 2; ++block) {
    groups.push_back(Group(block, UnitKind::kKvGroup, {3, 1, 2}, 8));
    groups.push_back(Channels(block, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  }
  EXPECT_EQ(Removed(*Make("uniform"), groups, 24), (Sets{{1}, {0, 1, 2, 3}, {1}, {0, 1, 2, 3}}));
  // A sixth, 6 a block: half a group is none, so six channels go.
  EXPECT_EQ(Removed(*Make("uniform"), groups, 12), (Sets{{}, {0, 1, 2, 3, 4, 5}, {}, {0, 1, 2, 3, 4, 5}}));
}

TEST(UniformAllocator, FillsUpRoundAfterRoundWhereABlockIsProtected) {
  // Block 0 may lose one only: the other two give what it keeps, one each in turn.
  std::vector<Lot> groups = {Channels(0, {1, 2, 3, 4}), Channels(1, {1, 2, 3, 4}), Channels(2, {1, 2, 3, 4})};
  groups[0].protected_units = {0, 1, 2};
  EXPECT_EQ(Removed(*Make("uniform"), groups, 7), (Sets{{3}, {0, 1, 2}, {0, 1, 2}}));
}

// Random groups with protection, minimums and openings.
std::vector<Lot> RandomGroups(uint64_t seed) {
  uint64_t counter = 0;
  const auto below = [&](uint64_t n) { return static_cast<int64_t>(RandomBelow(n, seed, 0, counter++)); };
  std::vector<Lot> groups;
  for (int64_t block = 0; block < 4; ++block)
    for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel}) {
      const bool wide = kind == UnitKind::kFfnChannel;
      std::vector<double> scores(static_cast<size_t>(wide ? 5 + below(20) : 1 + below(4)));
      for (double& score : scores) score = static_cast<double>(below(1000));
      Lot group = Group(block, kind, scores, wide ? 48 : 384);
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
    const std::vector<Lot> lots = RandomGroups(seed);
    int64_t reach = 0;
    for (const Lot& lot : lots) reach += lot.Saving(lot.Removable());
    for (const double share : {0.0, 0.1, 0.33, 0.5, 0.9, 1.0}) {
      const auto target = static_cast<int64_t>(share * static_cast<double>(reach));
      Lots savings(lots);
      const int64_t claimed = allocator->Allocate({savings.Groups(), target}, savings);
      int64_t saved = 0;
      for (size_t g = 0; g < lots.size(); ++g) {
        const auto gone = std::ssize(savings.removed()[g]);
        saved += lots[g].Saving(gone);
        EXPECT_LE(gone, lots[g].group.size() - lots[g].minimum);
        for (const int64_t unit : savings.removed()[g]) EXPECT_FALSE(lots[g].protected_units.contains(unit));
      }
      EXPECT_EQ(saved, claimed);
      EXPECT_LE(saved, target);
      for (const Unit& unit : InTurn(savings.Groups())) {
        const auto one_more = savings.Of(unit);
        EXPECT_TRUE(!one_more || saved + *one_more > target) << seed << " " << share;
      }
      EXPECT_EQ(Removed(*allocator, lots, target), savings.removed());
    }
  }
}

TEST_P(EveryAllocator, TakesTheLeastImportantUnitsOfAGroup) {
  const auto allocator = Registry<Allocator>::Create(GetParam());
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<Lot> lots = RandomGroups(seed);
    const Sets removed = Removed(*allocator, lots, 1000);
    for (size_t g = 0; g < lots.size(); ++g) {
      const at::Tensor score = lots[g].group.score.select(1, 0);
      double highest_gone = -1, lowest_kept = 1e9;
      for (int64_t unit = 0; unit < lots[g].group.size(); ++unit) {
        if (lots[g].protected_units.contains(unit)) continue;
        const double value = score[unit].item<double>();
        if (removed[g].contains(unit))
          highest_gone = std::max(highest_gone, value);
        else
          lowest_kept = std::min(lowest_kept, value);
      }
      EXPECT_LE(highest_gone, lowest_kept);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryAllocator, testing::ValuesIn(AllocatorsByScore()),
                         [](const testing::TestParamInfo<std::string>& test) { return test.param; });

}  // namespace
}  // namespace espalier
