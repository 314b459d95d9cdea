#include "espalier/plan/compose.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/core/error.h"
#include "espalier/core/random.h"
#include "espalier/model/forward.h"
#include "espalier/plan/ledger.h"
#include "espalier/prune/cut.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

// Each unit of `kinds` goes with probability 0.25, and what that leaves without effect.
Plan RandomPlan(const Model& model, uint64_t seed, const std::vector<UnitKind>& kinds) {
  Ledger ledger(model);
  uint64_t counter = 0;
  for (const UnitKind kind : kinds)
    for (int64_t l = PerModel(kind) ? kWholeModel : 0; l < (PerModel(kind) ? 0 : model.config.L()); ++l)
      for (int64_t unit = 0; unit < CountUnits(model.config, l, kind); ++unit)
        if (RandomUnit(seed, 0, counter++) < 0.25 && ledger.Of({l, kind, unit})) ledger.Remove({l, kind, unit});
  Plan plan;
  ledger.ListKept(kinds, plan);
  plan.dense = DenseCost(model);
  plan.pruned = ledger.Total();
  plan.budget_of = "block_parameters";
  return plan;
}

class Composing : public testing::TestWithParam<std::vector<UnitKind>> {};

TEST_P(Composing, CutsWhatTwoCutsInTurnDo) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const Model model = TinyModel(seed, {.blocks = {{4, 2, 24}, {6, 3, 20}, {2, 1, 28}, {4, 4, 9}}});
    const Plan first = RandomPlan(model, seed, GetParam());
    const Model once = Cut(model, first);
    const Plan second = RandomPlan(once, seed + 100, GetParam());
    const Model twice = Cut(once, second);
    const Plan both = Compose(first, second);
    const Model at_once = Cut(model, both);
    EXPECT_EQ(DenseCost(at_once).total_parameters, DenseCost(twice).total_parameters);
    EXPECT_EQ(both.pruned.block_parameters, DenseCost(twice).block_parameters);
    if (!both.residual_channels) {
      EXPECT_TRUE(BitwiseEqual(at_once, twice));
    }
    const at::Tensor ids = RandomIds(seed, 2, 12, model.config.V);
    EXPECT_LT(RelativeDifference(Logits(at_once, ids), Logits(twice, ids)), 1e-5);  // norms are rescaled in two steps
    // Its lists are what a ledger of it would list.
    Plan listed;
    LedgerOf(model, both).ListKept(GetParam(), listed);
    for (size_t l = 0; l < both.blocks.size(); ++l)
      for (const auto& [kind, units] : listed.blocks[l].units) EXPECT_EQ(units.kept, both.blocks[l].At(kind).kept);
  }
}

using enum UnitKind;
INSTANTIATE_TEST_SUITE_P(Kinds, Composing,
                         testing::Values(std::vector{kKvGroup}, std::vector{kQueryHead}, std::vector{kValueChannel},
                                         std::vector{kQkPair}, std::vector{kFfnChannel}, std::vector{kAttention, kFfn},
                                         std::vector{kBlock}, std::vector{kResidualChannel},
                                         std::vector{kKvGroup, kQueryHead, kValueChannel, kQkPair, kFfnChannel, kFfn,
                                                     kBlock, kResidualChannel}));

TEST(Compose, PutsTheSecondPlansIndicesBackByHand) {
  const Model model = TinyModel(1);
  Plan first = KeepAll(model), second;
  first.blocks[0].At(kFfnChannel).kept = {1, 5, 7, 20};
  second = KeepAll(Cut(model, first));
  second.blocks[0].At(kFfnChannel).kept = {0, 3};
  first.protected_units = {{{0, kFfnChannel, 20}, "keep", "named", 2, false}};
  second.protected_units = {{{0, kFfnChannel, 3}, "keep", "named", 1, true},
                            {{0, kFfnChannel, 0}, "supernodes", "holds much", 2, false}};
  const Plan both = Compose(first, second);
  EXPECT_EQ(both.blocks[0].At(kFfnChannel).before, 24);
  EXPECT_EQ(both.blocks[0].At(kFfnChannel).kept, (std::vector<int64_t>{1, 20}));
  ASSERT_EQ(both.protected_units.size(), 2u);
  EXPECT_EQ(both.protected_units[0].unit.index, 20);
  EXPECT_TRUE(both.protected_units[0].would_cut);
  EXPECT_EQ(both.protected_units[1].unit.index, 1);
}

TEST(Compose, RefusesAPlanOfAnotherModel) {
  const Model model = TinyModel(1);
  Plan first = KeepAll(model);
  first.blocks[0].At(kFfnChannel).kept = {1, 5};
  EXPECT_NE(MessageOf([&] { Compose(first, KeepAll(model)); }).find("24 ffn_channels, the first one keeps 2"),
            std::string::npos);
  EXPECT_THROW(Compose(KeepAll(model), KeepAll(model, {kQueryHead})), RecipeError);
  EXPECT_THROW(Compose(KeepAll(model), KeepAll(model, {kResidualChannel})), RecipeError);
}

TEST(Renumber, FindsProtectedUnitsInTheCutModel) {
  const Model model = TinyModel(1);  // block 1: 6 heads in 3 groups
  Plan plan = KeepAll(model);
  plan.blocks[1].At(kKvGroup).kept = {0, 2};
  plan.blocks[1].At(kFfnChannel).kept = {3, 4, 9};
  const std::vector<Protection> found = Renumber(model, plan,
                                                 {{{1, kKvGroup, 2}, "a", ""},
                                                  {{1, kQueryHead, 5}, "b", ""},
                                                  {{1, kFfnChannel, 9}, "c", ""},
                                                  {{1, kFfnChannel, 5}, "d", ""},
                                                  {{kWholeModel, kResidualChannel, 7}, "e", ""}});
  ASSERT_EQ(found.size(), 4u);  // channel 5 went
  EXPECT_EQ(found[0].unit, (Unit{1, kKvGroup, 1}));
  EXPECT_EQ(found[1].unit, (Unit{1, kQueryHead, 3}));  // heads 2 and 3 went with group 1
  EXPECT_EQ(found[2].unit, (Unit{1, kFfnChannel, 2}));
  EXPECT_EQ(found[3].unit, (Unit{kWholeModel, kResidualChannel, 7}));
}

}  // namespace
}  // namespace espalier
