#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/error.h"
#include "espalier/plan/planner.h"
#include "espalier/prune/cut.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

constexpr int64_t kChannel = 3 * 16;  // parameters of one, with C = 16

// Channel i of every block scores i: the first go first.
class ByIndex final : public Scorer {
 public:
  at::Tensor Score(const ScoreInput& input) const override {
    return at::arange(UnitSpace(input.model, input.block, input.kind).size(), at::kDouble).unsqueeze(1);
  }
};

class RoundingWidths : public testing::Test {
 protected:
  // Three blocks of 24 channels; `channels` of them are to go in all, in multiples of `step`.
  Plan Make(int64_t channels, int64_t step, const std::vector<Protection>& protections = {}) const {
    PlanOptions options;
    options.allocator_name = "uniform";
    options.kinds = {UnitKind::kFfnChannel};
    options.amount = channels * kChannel;
    options.round_ffn_to = step;
    options.min_ffn_channels = 0;
    return MakePlan(model_, nullptr, ByIndex(), *Registry<Allocator>::Create("uniform"), protections, options);
  }
  std::vector<int64_t> Widths(const Plan& plan) const {
    std::vector<int64_t> widths;
    for (const BlockPlan& block : plan.blocks) widths.push_back(std::ssize(block.At(UnitKind::kFfnChannel).kept));
    return widths;
  }
  static std::vector<Protection> Keep(int64_t block, int64_t channels) {
    std::vector<Protection> protections;
    for (int64_t i = 0; i < channels; ++i) protections.push_back({{block, UnitKind::kFfnChannel, i}, "keep", ""});
    return protections;
  }

  Model model_ = TinyModel(1, EvenShape(3, {4, 2, 24}));
};

using Sizes = std::vector<int64_t>;

TEST_F(RoundingWidths, RoundsDownWhereThatIsNearest) {
  // 17 of 72: 18, 18 and 19 stay. Two steps of 8 fit: the two blocks that are 2 above 16, not the one that is 3 above.
  EXPECT_EQ(Widths(Make(17, 1)), (Sizes{18, 18, 19}));
  const Plan plan = Make(17, 8);
  EXPECT_EQ(Widths(plan), (Sizes{16, 16, 24}));
  EXPECT_EQ(plan.blocks[0].At(UnitKind::kFfnChannel).kept.front(), 8);  // the least important went
  EXPECT_EQ(plan.dense.block_parameters - plan.pruned.block_parameters, 16 * kChannel);
}

TEST_F(RoundingWidths, FallsShortByLessThanAStepAndNeverExceeds) {
  EXPECT_EQ(Widths(Make(15, 8)), (Sizes{16, 24, 24}));
  EXPECT_EQ(Widths(Make(16, 8)), (Sizes{16, 16, 24}));
  EXPECT_EQ(Widths(Make(7, 8)), (Sizes{24, 24, 24}));
}

TEST_F(RoundingWidths, CountsAllThatThereAreAsAWidth) {
  // Multiples of 10 below 24: 20, 10, 0. 21 of 72 leave 17 each: 20, 20, 20 is 12, one more step of 10 makes 22.
  EXPECT_EQ(Widths(Make(21, 10)), (Sizes{20, 20, 20}));
  EXPECT_EQ(Widths(Make(22, 10)), (Sizes{10, 20, 20}));
  EXPECT_EQ(Widths(Make(3, 10)), (Sizes{24, 24, 24}));
  EXPECT_EQ(Widths(Make(72, 10)), (Sizes{0, 0, 0}));
}

TEST_F(RoundingWidths, LetsOtherBlocksGoFurtherWhereProtectionHoldsOne) {
  // 16 of 72: block 0 must keep 17, which rounds up to 24; the others take a step each.
  const Plan plan = Make(16, 8, Keep(0, 17));
  EXPECT_EQ(Widths(plan), (Sizes{24, 16, 16}));
  // A block that keeps channels 0 to 3 gives the next eight.
  EXPECT_EQ(Make(8, 8, Keep(0, 4)).blocks[0].At(UnitKind::kFfnChannel).kept[4], 12);
}

TEST_F(RoundingWidths, SaysWhenNoWidthsFit) {
  std::vector<Protection> held;
  for (int64_t block = 0; block < 3; ++block)
    for (const Protection& protection : Keep(block, 20)) held.push_back(protection);
  EXPECT_EQ(Widths(Make(9, 1, held)), (Sizes{21, 21, 21}));
  EXPECT_EQ(MessageOf([&] { Make(9, 8, held); }),
            "prune.allocate.round_ffn_to: with widths in multiples of 8 and what is protected, 0 of 432 asked for can "
            "go; ask for less, or round to less");
  EXPECT_EQ(MessageOf([&] { Make(9, 25); }),
            "prune.allocate.round_ffn_to: 25 is more than the 24 FFN channels of block 0; ask for at most as many");
  EXPECT_THROW(Make(9, 25), RecipeError);
}

TEST(RoundingMixedBudgets, MeetsThemWithEveryAllocator) {
  const Model model = TinyModel(1);  // widths 24, 20, 28
  const Statistics statistics = Calibrate(model, RandomIds(1, 4, 16, model.config.V), {});
  for (const std::string allocator : {"global", "uniform"})
    for (const bool biases : {false, true})
      for (const double remove : {0.05, 0.17, 0.3, 0.5, 0.7}) {
        SCOPED_TRACE(testing::Message() << allocator << " " << biases << " " << remove);
        PlanOptions options;
        options.kinds = {UnitKind::kKvGroup, UnitKind::kFfnChannel};
        options.remove = remove;
        options.round_ffn_to = 4;
        options.min_kv_groups = 0;
        options.compensation_adds_bias = biases;
        const Plan plan = MakePlan(model, &statistics, *Registry<Scorer>::Create("wifv"),
                                   *Registry<Allocator>::Create(allocator), {}, options);
        for (const BlockPlan& block : plan.blocks) EXPECT_EQ(block.At(UnitKind::kFfnChannel).kept.size() % 4, 0u);
        EXPECT_LE(plan.achieved_share, remove);
        EXPECT_GT(plan.achieved_share, remove - 384.0 / static_cast<double>(plan.dense.block_parameters));
        if (!biases) {
          EXPECT_EQ(DenseCost(Cut(model, plan)).block_parameters, plan.pruned.block_parameters);
        }
      }
}

TEST(RoundingMixedBudgets, AsksForChannelsToRound) {
  PlanOptions options;
  options.kinds = {UnitKind::kKvGroup};
  options.remove = 0.05;
  options.round_ffn_to = 8;
  EXPECT_NE(MessageOf([&] {
              MakePlan(TinyModel(1), nullptr, *Registry<Scorer>::Create("magnitude"),
                       *Registry<Allocator>::Create("global"), {}, options);
            }).find("8, but no ffn_channel may go"),
            std::string::npos);
}

}  // namespace
}  // namespace espalier
