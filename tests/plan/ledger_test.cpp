#include "espalier/plan/ledger.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/random.h"
#include "espalier/plan/planner.h"
#include "espalier/prune/compensator.h"
#include "espalier/prune/cut.h"
#include "support/allocators.h"
#include "support/costs.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

std::vector<UnitKind> EveryKind() {
  std::vector<UnitKind> kinds;
  for (const UnitKindInfo& info : UnitKinds()) kinds.push_back(info.kind);
  return kinds;
}

std::vector<Unit> EveryUnit(const Model& model, const std::vector<UnitKind>& kinds) {
  std::vector<Unit> units;
  for (const UnitKind kind : kinds)
    for (int64_t l = PerModel(kind) ? kWholeModel : 0; l < (PerModel(kind) ? 0 : model.config.L()); ++l)
      for (int64_t unit = 0; unit < CountUnits(model.config, l, kind); ++unit) units.push_back({l, kind, unit});
  return units;
}

TEST(Ledger, OfAnUncutModelIsItsCost) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(1, shape);
    SCOPED_TRACE(name);
    ExpectSame(Ledger(model).Total(), DenseCost(model));
    ExpectSame(Ledger(model, {.compensation_adds_bias = true}).Total(), DenseCost(model));  // nothing was opened
  }
}

TEST(Ledger, AgreesExactlyWithTheTensorsOfTheCutModelForRandomMixesOfAllKinds) {
  for (const auto& [name, shape] : FamilyShapes())
    for (uint64_t seed = 0; seed < 6; ++seed) {
      SCOPED_TRACE(testing::Message() << name << " " << seed);
      const Model model = TinyModel(seed, shape);
      Ledger ledger(model, {.timing = kTestTiming});
      uint64_t counter = 0;
      for (const Unit& unit : EveryUnit(model, EveryKind()))
        if (RandomUnit(seed, 1, counter++) < 0.15) ledger.Remove(unit);
      Plan plan;
      ledger.ListKept(EveryKind(), plan);
      if (plan.residual_channels->kept.empty()) continue;
      const Model cut = Cut(model, plan);
      ExpectSame(ledger.Total(), DenseCost(cut, kTestTiming));
      ExpectSame(PlannedCost(model, plan, false), DenseCost(cut));
    }
}

TEST(Ledger, CountsTheBiasesThatCompensationReallyAdds) {
  for (const bool biases : {false, true})
    for (uint64_t seed = 0; seed < 4; ++seed) {
      TinyShape shape;
      shape.biases = biases;
      const Model model = TinyModel(seed, shape);
      const Statistics statistics = Calibrate(model, RandomIds(seed, 2, 16, model.config.V), {});
      Ledger ledger(model, {.compensation_adds_bias = true});
      uint64_t counter = 0;
      for (const Unit& unit : EveryUnit(model, EveryKind()))
        if (RandomUnit(seed, 2, counter++) < 0.1) ledger.Remove(unit);
      Plan plan;
      ledger.ListKept(EveryKind(), plan);
      Model cut = Cut(model, plan);
      Compensate(model, plan, statistics, *Registry<Compensator>::Create("bias"), cut);
      ExpectSame(ledger.Total(), DenseCost(cut));
    }
}

TEST(Ledger, SaysWhatRemovingAUnitWillSaveInEveryMeasure) {
  const Model model = TinyModel(2);
  for (const std::string& measure : BudgetMeasures()) {
    Ledger ledger(model, {.measure = measure, .compensation_adds_bias = true, .timing = kTestTiming});
    uint64_t counter = 0;
    for (const Unit& unit : EveryUnit(model, EveryKind())) {
      const auto saving = ledger.Of(unit);
      if (RandomUnit(3, 0, counter++) > 0.2) continue;
      const int64_t before = ledger.Measured();
      ledger.Remove(unit);
      const int64_t saved = before - ledger.Measured();
      if (saving) {
        EXPECT_EQ(saved, *saving) << UnitText(unit) << " " << measure;
      }
      EXPECT_FALSE(ledger.Stays(unit));
      EXPECT_EQ(ledger.Of(unit), std::nullopt);  // gone
    }
  }
}

TEST(Ledger, CountsOverlapsOnceByHand) {
  // Block 1: H = 6, G = 3, D = 4, C = 16; two heads a group. A head saves 4 rows of w_q and 4 columns of w_o: 128. With
  // value channel 0 gone (its row and two columns: 48) head 0 saves 16 less. The group is then 4 + 4 rows of w_q, 4 of
  // w_k, 3 of w_v, 3 + 3 columns: 21 * 16 = 336 with both heads, 336 - (4 + 3) * 16 = 224 without head 0.
  const Model model = TinyModel(3);
  Ledger ledger(model);
  EXPECT_EQ(ledger.Of({1, UnitKind::kQueryHead, 0}), 128);
  EXPECT_EQ(ledger.Of({1, UnitKind::kValueChannel, 0}), 48);
  ledger.Remove({1, UnitKind::kValueChannel, 0});
  EXPECT_EQ(ledger.Of({1, UnitKind::kQueryHead, 0}), 112);
  EXPECT_EQ(ledger.Of({1, UnitKind::kKvGroup, 0}), 336);
  ledger.Remove({1, UnitKind::kQueryHead, 0});
  EXPECT_EQ(ledger.Of({1, UnitKind::kKvGroup, 0}), 224);
  // The last head of the group takes the group: the same.
  EXPECT_EQ(ledger.Of({1, UnitKind::kQueryHead, 1}), 224);
  // A residual channel is a column less of what is left: it was 16 of 16, here one of 15 or 16 in each layer.
  EXPECT_EQ(ledger.Alone({1, UnitKind::kKvGroup, 0}), 384);
}

TEST(Ledger, AddsTheBiasOfCompensationToTheFirstThatOpensASublayer) {
  // 48 for a channel of 3 * 16; the first one opens w_down: 16 less.
  const Model model = TinyModel(4);
  Ledger ledger(model, {.compensation_adds_bias = true});
  EXPECT_EQ(ledger.Of({0, UnitKind::kFfnChannel, 5}), 32);
  ledger.Remove({0, UnitKind::kFfnChannel, 5});
  EXPECT_EQ(ledger.Of({0, UnitKind::kFfnChannel, 6}), 48);
  EXPECT_EQ(ledger.Of({1, UnitKind::kFfnChannel, 6}), 32);
  // Rotary pairs feed no consumer: nothing is refitted. (2 + 2 * 2) rows of 16.
  EXPECT_EQ(ledger.Of({1, UnitKind::kQkPair, 0}), 96);
}

TEST(Ledger, LetsWidthKindsStopAtTheMinimumsAndSublayersGoWhole) {
  const Model model = TinyModel(5);
  Ledger ledger(model, {.min_kv_groups = 1, .min_ffn_channels = 27});
  ledger.Remove({2, UnitKind::kFfnChannel, 0});
  EXPECT_EQ(ledger.Of({2, UnitKind::kFfnChannel, 1}), std::nullopt);
  EXPECT_EQ(ledger.Of({0, UnitKind::kFfnChannel, 1}), std::nullopt);  // 24 is less than 27: all stay
  EXPECT_EQ(ledger.Of({2, UnitKind::kKvGroup, 0}), std::nullopt);     // the only one
  ledger.Remove({2, UnitKind::kQueryHead, 0});
  EXPECT_EQ(ledger.Of({2, UnitKind::kQueryHead, 1}), std::nullopt);  // would take the only group with it
  EXPECT_TRUE(ledger.Of({2, UnitKind::kAttention, 0}));
  EXPECT_TRUE(ledger.Of({2, UnitKind::kFfn, 0}));
  EXPECT_TRUE(ledger.Of({2, UnitKind::kBlock, 0}));
}

TEST(Ledger, NeverTakesTheLastRotaryPairOfAGroupOrTheLastResidualChannel) {
  const Model model = TinyModel(6);
  Ledger ledger(model);
  ledger.Remove({1, UnitKind::kQkPair, 2});
  EXPECT_EQ(ledger.Of({1, UnitKind::kQkPair, 3}), std::nullopt);
  EXPECT_TRUE(ledger.Of({1, UnitKind::kQkPair, 4}));
  for (int64_t channel = 1; channel < 16; ++channel) ledger.Remove({kWholeModel, UnitKind::kResidualChannel, channel});
  EXPECT_EQ(ledger.Of({kWholeModel, UnitKind::kResidualChannel, 0}), std::nullopt);
}

TEST(Ledger, KeepsAProtectedUnitFromGoingWithWhatHoldsIt) {
  const Model model = TinyModel(7);
  Ledger ledger(model);
  ledger.Protect({1, UnitKind::kFfnChannel, 7});
  for (const UnitKind kind : {UnitKind::kFfn, UnitKind::kBlock})
    EXPECT_EQ(ledger.Of({1, kind, 0}), std::nullopt) << UnitKindName(kind);
  EXPECT_EQ(ledger.Of({1, UnitKind::kFfnChannel, 7}), std::nullopt);
  EXPECT_TRUE(ledger.Of({1, UnitKind::kFfnChannel, 8}));
  EXPECT_TRUE(ledger.Of({1, UnitKind::kAttention, 0}));
  ledger.Protect({0, UnitKind::kQueryHead, 0});
  EXPECT_EQ(ledger.Of({0, UnitKind::kKvGroup, 0}), std::nullopt);
  EXPECT_TRUE(ledger.Of({0, UnitKind::kQueryHead, 1}));
  EXPECT_TRUE(ledger.Of({0, UnitKind::kKvGroup, 1}));
  ledger.Protect({2, UnitKind::kKvGroup, 0});
  ledger.Remove({2, UnitKind::kQueryHead, 0});
  EXPECT_EQ(ledger.Of({2, UnitKind::kQueryHead, 1}), std::nullopt);  // the group would go with its last head
  ledger.Protect({kWholeModel, UnitKind::kResidualChannel, 4});
  EXPECT_EQ(ledger.Of({kWholeModel, UnitKind::kResidualChannel, 4}), std::nullopt);
}

TEST(Ledger, OfAPlanIsTheOneThatThePlanWasListedFrom) {
  const Model model = TinyModel(8);
  Ledger ledger(model);
  for (const Unit& unit : {Unit{1, UnitKind::kQueryHead, 2}, Unit{1, UnitKind::kQueryHead, 3},
                           Unit{0, UnitKind::kFfn, 0}, Unit{kWholeModel, UnitKind::kResidualChannel, 9}})
    ledger.Remove(unit);
  Plan plan;
  ledger.ListKept({UnitKind::kQueryHead, UnitKind::kFfn, UnitKind::kResidualChannel}, plan);
  EXPECT_EQ(plan.blocks[1].At(UnitKind::kKvGroup).kept, (std::vector<int64_t>{0, 2}));  // group 1 lost both its heads
  EXPECT_TRUE(plan.blocks[0].At(UnitKind::kFfnChannel).kept.empty());
  ExpectSame(LedgerOf(model, plan).Total(), ledger.Total());
}

// Every kind at once, in every measure, by every allocator.
TEST(PlanningAllKinds, MeetsTheBudgetSoThatNothingThatMayStillGoWouldFitAndPredictsTheCutModel) {
  const Model model = TinyModel(9);
  const std::vector<std::vector<UnitKind>> mixes = {
      EveryKind(),
      {UnitKind::kQueryHead, UnitKind::kValueChannel, UnitKind::kFfnChannel},
      {UnitKind::kResidualChannel, UnitKind::kFfnChannel},
      {UnitKind::kAttention, UnitKind::kFfn, UnitKind::kFfnChannel}};
  for (const std::string& of : BudgetMeasures())
    for (const std::string& name : AllocatorsByScore())
      for (size_t mix = 0; mix < mixes.size(); ++mix)
        for (const double remove : {0.1, 0.35}) {
          if (of == "kv_bytes" && mix == 2) continue;  // nothing in the cache can go
          SCOPED_TRACE(testing::Message() << of << " " << name << " mix " << mix << " " << remove);
          PlanOptions options;
          options.scorer_name = "random";
          options.allocator_name = name;
          options.kinds = mixes[mix];
          options.budget_of = of;
          options.remove = remove;
          options.compensation_adds_bias = true;
          options.timing = kTestTiming;
          const std::vector<Protection> keep = {{{1, UnitKind::kFfnChannel, 3}, "keep", ""}};
          const Plan plan = MakePlan(model, nullptr, *Registry<Scorer>::Create("random"),
                                     *Registry<Allocator>::Create(name), keep, options);
          EXPECT_LE(plan.achieved_share, remove + 1e-12);
          const Ledger built =
              LedgerOf(model, plan, {of, true, false, options.min_kv_groups, options.min_ffn_channels, options.timing});
          ExpectSame(plan.pruned, built.Total());
          EXPECT_TRUE(Keeps(plan, keep[0].unit));
          Ledger left = built;
          left.Protect(keep[0].unit);
          const auto target = static_cast<int64_t>(remove * static_cast<double>(Measure(plan.dense, of)));
          const int64_t open = target - (Measure(plan.dense, of) - Measure(plan.pruned, of));
          for (const Unit& unit : EveryUnit(model, mixes[mix])) {
            const auto saving = left.Of(unit);
            EXPECT_TRUE(!saving || *saving > open) << UnitText(unit);
          }
          const Cost cut = DenseCost(Cut(model, plan), kTestTiming);
          EXPECT_EQ(cut.kv_bytes, plan.pruned.kv_bytes);
          EXPECT_EQ(cut.macs, plan.pruned.macs);
          EXPECT_EQ(cut.picoseconds, plan.pruned.picoseconds);
          ExpectSame(PlannedCost(model, plan, false), DenseCost(Cut(model, plan)));
        }
}

}  // namespace
}  // namespace espalier
