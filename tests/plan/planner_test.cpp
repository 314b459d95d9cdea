#include "espalier/plan/planner.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/calibrate/input_system.h"
#include "espalier/prune/compensator.h"
#include "espalier/prune/cut.h"
#include "support/allocators.h"
#include "support/costs.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

const std::vector<UnitKind> kBoth = {UnitKind::kKvGroup, UnitKind::kFfnChannel};

PlanOptions Wish(const std::string& of, double remove, const std::string& allocator = "global") {
  PlanOptions options;
  options.scorer_name = "wifv";
  options.allocator_name = allocator;
  options.kinds = kBoth;
  options.budget_of = of;
  options.remove = remove;
  options.min_kv_groups = 0;
  options.min_ffn_channels = 0;
  options.timing = kTestTiming;
  return options;
}

class Planning : public testing::Test {
 protected:
  explicit Planning(const TinyShape& shape = {}) : model_(TinyModel(1, shape)) {
    statistics_ = Calibrate(model_, RandomIds(1, 4, 16, model_.config.V), {});
  }
  Plan Make(const PlanOptions& options, const std::vector<Protection>& protections = {}) const {
    return MakePlan(model_, &statistics_, *Registry<Scorer>::Create(options.scorer_name),
                    *Registry<Allocator>::Create(options.allocator_name), protections, options);
  }
  // A model that is really cut to the plan and compensated, counted.
  Cost Built(const Plan& plan, const std::string& compensator) const {
    Model cut = Cut(model_, plan);
    Compensate(model_, plan, statistics_, *Registry<Compensator>::Create(compensator), cut);
    return DenseCost(cut, kTestTiming);
  }

  Model model_;
  Statistics statistics_;
};

TEST_F(Planning, CountsTheDenseModelByHand) {
  // Block 0 (H 4, G 2, F 24; C 16, D 4): q 16*16, k and v 8*16 each, o 16*16, FFN 3*24*16, norms 32.
  // Block 1 (6, 3, 20): q, o 24*16, k, v 12*16, 3*20*16. Block 2 (2, 1, 28): q, o 8*16, k, v 4*16, 3*28*16.
  const int64_t linear = (256 + 128 + 128 + 256 + 1152) + (384 + 192 + 192 + 384 + 960) + (128 + 64 + 64 + 128 + 1344);
  const Cost cost = DenseCost(model_, kTestTiming);
  EXPECT_EQ(cost.block_parameters, linear + 3 * 32);
  EXPECT_EQ(cost.total_parameters, linear + 3 * 32 + 32 * 16 + 16);  // tied embedding and the final norm
  EXPECT_EQ(cost.bytes, 4 * cost.total_parameters);
  EXPECT_EQ(cost.kv_bytes, 2 * (2 + 3 + 1) * 4 * 4);
  EXPECT_EQ(cost.macs, linear + 32 * 16);
  const int64_t ffn = 1152 + 960 + 1344;
  EXPECT_EQ(cost.picoseconds, 3 * (linear - ffn) + 2 * ffn + 5 * 32 * 16);
}

TEST_F(Planning, MeetsEveryBudgetWithinOneUnitAndPredictsTheCutModelExactly) {
  int64_t plans = 0;
  for (const std::string& of : BudgetMeasures())
    for (const std::string& allocator : AllocatorsByScore())
      for (const std::string compensator : {"none", "bias"})
        for (const double remove : {0.0, 0.05, 0.17, 0.3, 0.5, 0.7}) {
          SCOPED_TRACE(testing::Message() << of << " " << allocator << " " << compensator << " " << remove);
          PlanOptions options = Wish(of, remove, allocator);
          options.compensation_adds_bias = compensator == "bias";
          const Plan plan = Make(options);
          const int64_t dense = Measure(plan.dense, of), pruned = Measure(plan.pruned, of);
          // The dearest unit is a KV group: 384 parameters and MACs, 4 bytes each, or 2 * 4 * 4 bytes of cache.
          const int64_t unit = of == "kv_bytes" ? 32 : of == "bytes" ? 4 * 384 : of == kTimeMeasure ? 3 * 384 : 384;
          EXPECT_LE(plan.achieved_share, remove + 1e-12);
          EXPECT_GT(static_cast<double>(dense - pruned),
                    remove * static_cast<double>(dense) - static_cast<double>(unit));
          EXPECT_DOUBLE_EQ(plan.achieved_share, 1 - static_cast<double>(pruned) / static_cast<double>(dense));
          ExpectSame(plan.pruned, Built(plan, compensator));
          ++plans;
        }
  EXPECT_EQ(plans, 6 * 2 * 2 * 6);
}

TEST(PlanningSmallModels, MeetsTheBudgetAtAnyShareWithTheBiasesCounted) {
  // Which sublayers are opened changes from share to share; what their biases add must never break the promise.
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Model model = TinyModel(seed, {.blocks = {{4, 2, 8}, {6, 3, 10}, {2, 1, 7}, {4, 2, 5}}});
    const Statistics statistics = Calibrate(model, RandomIds(seed, 2, 16, model.config.V), {});
    for (int percent = 1; percent < 75; ++percent)
      for (const std::string& allocator : AllocatorsByScore()) {
        SCOPED_TRACE(testing::Message() << "seed " << seed << " " << percent << " % " << allocator);
        PlanOptions options = Wish("block_parameters", percent / 100.0, allocator);
        options.compensation_adds_bias = true;
        options.residue_adds_bias = seed % 2 == 1;
        const Plan plan = MakePlan(model, &statistics, *Registry<Scorer>::Create("wifv"),
                                   *Registry<Allocator>::Create(allocator), {}, options);
        EXPECT_LE(plan.achieved_share, options.remove + 1e-12);
        EXPECT_GT(plan.achieved_share, options.remove - 384.0 / static_cast<double>(plan.dense.block_parameters));
      }
  }
}

class PlanningWithBiases : public Planning {
 protected:
  PlanningWithBiases() : Planning({.tied_head = false, .biases = true}) {}
};

TEST_F(PlanningWithBiases, PredictsTheCutModelExactly) {
  for (const std::string& of : BudgetMeasures()) {
    PlanOptions options = Wish(of, 0.4);
    options.compensation_adds_bias = true;  // adds none: every layer has one
    const Plan plan = Make(options);
    EXPECT_LE(plan.achieved_share, 0.4);
    ExpectSame(plan.pruned, Built(plan, "bias"));
    ExpectSame(plan.pruned, DenseCost(Cut(model_, plan), kTestTiming));
  }
}

TEST_F(Planning, NeverCutsProtectedUnitsAndSaysWhichItWouldHaveCut) {
  const PlanOptions options = Wish("block_parameters", 0.4);
  const Plan free = Make(options);
  std::vector<int64_t> cut;
  for (int64_t i = 0; i < 24; ++i)
    if (!Keeps(free, {0, UnitKind::kFfnChannel, i})) cut.push_back(i);
  ASSERT_GE(cut.size(), 2u);
  const Unit lost{0, UnitKind::kFfnChannel, cut[0]},
      kept{0, UnitKind::kFfnChannel, free.blocks[0].At(UnitKind::kFfnChannel).kept[0]};
  const Plan plan = Make(options, {{lost, "keep", "first"}, {kept, "keep", "second"}});
  for (const Unit& unit : {lost, kept}) EXPECT_TRUE(Keeps(plan, unit));
  ASSERT_EQ(plan.protected_units.size(), 2u);
  EXPECT_EQ(plan.protected_units[0].unit, lost);
  EXPECT_EQ(plan.protected_units[0].reason, "first");
  EXPECT_TRUE(plan.protected_units[0].would_cut);
  EXPECT_FALSE(plan.protected_units[1].would_cut);
  // Something else went instead.
  EXPECT_LE(plan.achieved_share, 0.4);
  EXPECT_GT(plan.achieved_share, 0.4 - 384.0 / static_cast<double>(plan.dense.block_parameters));
}

TEST_F(Planning, RanksProtectedUnitsFromTheMostImportant) {
  const PlanOptions options = Wish("block_parameters", 0.2);
  const at::Tensor score =
      Registry<Scorer>::Create("wifv")->Score({model_, 1, UnitKind::kFfnChannel, &statistics_}).select(1, 0);
  const int64_t best = score.argmax().item<int64_t>(), worst = score.argmin().item<int64_t>();
  const Plan plan =
      Make(options, {{{1, UnitKind::kFfnChannel, best}, "keep", ""}, {{1, UnitKind::kFfnChannel, worst}, "keep", ""}});
  EXPECT_EQ(plan.protected_units[0].rank, 1);
  EXPECT_EQ(plan.protected_units[1].rank, 20);
  EXPECT_TRUE(plan.protected_units[1].would_cut);
}

TEST_F(Planning, LeavesUnitsOfKindsThatAreNotCutUnranked) {
  PlanOptions options = Wish("block_parameters", 0.2);
  options.kinds = {UnitKind::kFfnChannel};
  const Plan plan = Make(options, {{{1, UnitKind::kKvGroup, 0}, "keep", ""}});
  EXPECT_EQ(plan.protected_units[0].rank, 0);
  EXPECT_FALSE(plan.protected_units[0].would_cut);
  for (size_t l = 0; l < 3; ++l)
    EXPECT_EQ(static_cast<int64_t>(plan.blocks[l].At(UnitKind::kKvGroup).kept.size()), model_.config.blocks[l].G);
}

TEST_F(Planning, KeepsTheMinimums) {
  for (const std::string& allocator : AllocatorsByScore()) {
    PlanOptions options = Wish("block_parameters", 0.53, allocator);
    options.min_kv_groups = 2;  // block 2 has one: it keeps that
    options.min_ffn_channels = 5;
    const Plan plan = Make(options);
    for (size_t l = 0; l < 3; ++l) {
      EXPECT_GE(static_cast<int64_t>(plan.blocks[l].At(UnitKind::kKvGroup).kept.size()),
                std::min<int64_t>(2, model_.config.blocks[l].G));
      EXPECT_GE(plan.blocks[l].At(UnitKind::kFfnChannel).kept.size(), 5u);
    }
  }
}

TEST_F(Planning, SaysWhatCanGoAtMostWhenTheBudgetCannotBeMet) {
  // 24 + 20 + 28 channels of 48, of which 10 stay in each block: 42 * 48 = 2016 of 5856: 0.3442. Minimums: 1440:
  // 0.2459.
  PlanOptions options = Wish("block_parameters", 0.5);
  options.kinds = {UnitKind::kFfnChannel};
  options.min_ffn_channels = 10;
  EXPECT_THROW(Make(options), RecipeError);
  EXPECT_EQ(MessageOf([&] { Make(options); }),
            "prune.budget.remove: 0.5 of block_parameters asked for, at most 0.3442 can go (minimums hold 0.2459); "
            "ask for less, allow more unit kinds, or lower the minimums");
  // Protecting all 28 of block 2 takes its 18 * 48 = 864 (14.8 %) that could go away: 24 * 48 = 1152: 0.1967.
  options.remove = 0.3;
  std::vector<Protection> all;
  for (int64_t i = 0; i < 28; ++i) all.push_back({{2, UnitKind::kFfnChannel, i}, "keep", ""});
  EXPECT_EQ(MessageOf([&] { Make(options, all); }),
            "prune.budget.remove: 0.3 of block_parameters asked for, at most 0.1967 can go (minimums hold 0.2459, keep "
            "holds 28 units (14.8 %)); "
            "ask for less, allow more unit kinds, or lower the minimums");
}

TEST_F(Planning, SaysThatAProtectedChannelHoldsItsBlock) {
  PlanOptions options = Wish("block_parameters", 0.9);
  options.kinds = {UnitKind::kBlock};
  options.min_ffn_channels = options.min_kv_groups = 0;
  const std::vector<Protection> one = {{{2, UnitKind::kFfnChannel, 3}, "supernodes", ""}};
  const std::string message = MessageOf([&] { Make(options, one); });
  const double share = 100 * static_cast<double>(UnitSpace(model_, 2, UnitKind::kBlock).Cost(0).parameters) /
                       static_cast<double>(CountBlockParameters(model_));
  EXPECT_NE(message.find(fmt::format("supernodes holds 1 units ({:.1f} %)", share)), std::string::npos) << message;
}

TEST_F(Planning, CountsTheBiasesWhenItSaysWhatCanGo) {
  // As above, 2016 less three biases of 16: 1968 of 5856 is 0.3360; 0.34 is in reach without them and out of it with
  // them.
  PlanOptions options = Wish("block_parameters", 0.34);
  options.kinds = {UnitKind::kFfnChannel};
  options.min_ffn_channels = 10;
  EXPECT_NO_THROW(Make(options));
  options.compensation_adds_bias = true;
  EXPECT_NE(MessageOf([&] { Make(options); }).find("at most 0.3360 can go"), std::string::npos)
      << MessageOf([&] { Make(options); });
}

TEST_F(Planning, RefusesAMeasureThatItDoesNotKnow) {
  EXPECT_NE(MessageOf([&] { Make(Wish("parameters", 0.1)); }).find("unknown budget measure 'parameters'"),
            std::string::npos);
}

TEST_F(Planning, GivesTheSamePlanTwice) {
  for (const std::string& allocator : AllocatorsByScore()) {
    const Plan a = Make(Wish("bytes", 0.37, allocator)), b = Make(Wish("bytes", 0.37, allocator));
    for (size_t l = 0; l < 3; ++l) {
      EXPECT_EQ(a.blocks[l].At(UnitKind::kKvGroup).kept, b.blocks[l].At(UnitKind::kKvGroup).kept);
      EXPECT_EQ(a.blocks[l].At(UnitKind::kFfnChannel).kept, b.blocks[l].At(UnitKind::kFfnChannel).kept);
    }
  }
}

TEST_F(Planning, SwapsChannelsAtTheSameCostAndNeverProtectedOnes) {
  statistics_ = Calibrate(model_, RandomIds(1, 8, 16, model_.config.V), {.products = true});
  PlanOptions options = Wish("block_parameters", 0.4);
  options.compensation_adds_bias = true;
  const std::vector<Protection> kept = {{{0, UnitKind::kFfnChannel, 3}, "keep", ""}};
  const Plan before = Make(options, kept);
  options.swaps = 20;
  const Plan after = Make(options, kept);
  ExpectSame(before.pruned, after.pruned);
  EXPECT_TRUE(Keeps(after, kept[0].unit));
  // The refit pays less for what went.
  const auto error = [&](const Plan& plan) {
    double sum = 0;
    for (int64_t l = 0; l < 3; ++l) {
      const at::Tensor h = InputSystem(statistics_.blocks[static_cast<size_t>(l)].ffn_hidden, 0.01);
      const at::Tensor w = model_.blocks[static_cast<size_t>(l)].ffn.w_down.weight.to(at::kDouble);
      std::vector<int64_t> removed;
      for (int64_t i = 0; i < w.size(1); ++i)
        if (!Keeps(plan, {l, UnitKind::kFfnChannel, i})) removed.push_back(i);
      const at::Tensor r = at::tensor(removed, at::kLong);
      const auto among = [&](const at::Tensor& matrix) { return matrix.index_select(0, r).index_select(1, r); };
      sum += (at::linalg_inv(among(at::linalg_inv(h))) * among(w.t().matmul(w))).sum().item<double>();
    }
    return sum;
  };
  EXPECT_LT(error(after), 0.999 * error(before));
}

class PlanningEvenBlocks : public Planning {
 protected:
  PlanningEvenBlocks() : Planning(EvenShape(4)) {}
};

TEST_F(PlanningEvenBlocks, UniformTakesTheSameFromEveryBlock) {
  for (const bool biases : {false, true})
    for (const double remove : {0.1, 0.25, 0.4, 0.6}) {
      PlanOptions options = Wish("block_parameters", remove, "uniform");
      options.compensation_adds_bias = biases;
      const Plan plan = Make(options);
      for (size_t l = 1; l < 4; ++l) {
        EXPECT_EQ(plan.blocks[l].At(UnitKind::kKvGroup).kept.size(), plan.blocks[0].At(UnitKind::kKvGroup).kept.size());
        // What rounding leaves over goes to the first blocks, one channel each.
        EXPECT_LE(plan.blocks[0].At(UnitKind::kFfnChannel).kept.size(),
                  plan.blocks[l].At(UnitKind::kFfnChannel).kept.size());
        EXPECT_LE(plan.blocks[l].At(UnitKind::kFfnChannel).kept.size(),
                  plan.blocks[0].At(UnitKind::kFfnChannel).kept.size() + 1);
      }
    }
}

TEST(PlanningAPlantedModel, WouldHaveCutTheProducerThatProtectionKeeps) {
  // Without the outlier tokens the producer's input is zero, its variance too: WIFV calls it the least important
  // neuron.
  const Model model = PlantedModel(1);
  const Statistics statistics = Calibrate(model, PlantedIds(1, 4, 16), {});
  const Unit producer{Planted::kUpBlock, UnitKind::kFfnChannel, Planted::kUpNeuron};
  const Plan plan =
      MakePlan(model, &statistics, *Registry<Scorer>::Create("wifv"), *Registry<Allocator>::Create("global"),
               {{producer, "spike_producers", "planted"}}, Wish("block_parameters", 0.2));
  ASSERT_EQ(plan.protected_units.size(), 1u);
  EXPECT_TRUE(plan.protected_units[0].would_cut);
  EXPECT_EQ(plan.protected_units[0].rank, 24);
  EXPECT_TRUE(Keeps(plan, producer));
}

}  // namespace
}  // namespace espalier
