// What holds for every registered scorer.
#include "espalier/score/scorer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "espalier/calibrate/calibrate.h"
#include "espalier/plan/ledger.h"
#include "espalier/prune/cut.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

// All that any scorer needs.
const CalibrateOptions kEverything = {.products = true, .gradient_tokens = 64};

using at::Tensor;

class EveryScorer : public testing::TestWithParam<std::string> {
 protected:
  EveryScorer() : model_(TinyModel(1)), statistics_(Calibrate(model_, windows_, kEverything)) {}
  Tensor Score(const Model& model, const Statistics& statistics, int64_t block, UnitKind kind) const {
    return CheckedScore(*Registry<Scorer>::Create(GetParam()), GetParam(), {model, block, kind, &statistics, true});
  }

  // `random` reads neither weights nor statistics, so nothing can permute its scores or spoil them.
  bool ReadsNothing() const { return GetParam() == "random"; }

  Tensor windows_ = RandomIds(1, 4, 16, TinyShape().V);
  Model model_;
  Statistics statistics_;
};

TEST_P(EveryScorer, GivesAFiniteRowForEveryUnitAndTheSameTwice) {
  for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel})
    for (int64_t l = 0; l < model_.config.L(); ++l) {
      const Tensor score = Score(model_, statistics_, l, kind);
      EXPECT_EQ(score.dim(), 2);
      EXPECT_EQ(score.size(0), UnitSpace(model_, l, kind).size());
      EXPECT_TRUE(score.isfinite().all().item<bool>());
      EXPECT_TRUE(at::equal(score, Score(model_, statistics_, l, kind)));
      if (score.size(0) == 1) continue;
      EXPECT_FALSE(score.mean(1).eq(score.mean(1)[0]).all().item<bool>());  // tells units apart
    }
}

TEST_P(EveryScorer, PermutesScoresWhenFfnChannelsArePermuted) {
  if (ReadsNothing()) GTEST_SKIP() << "reads nothing of the model";
  const Tensor order = at::tensor(
      at::ArrayRef<int64_t>({3, 0, 19, 7, 1, 2, 4, 5, 6, 8, 9, 10, 18, 17, 16, 15, 14, 13, 12, 11}), at::kLong);
  Model permuted = model_;
  FeedForward& ffn = permuted.blocks[1].ffn;
  ffn.w_gate.weight = ffn.w_gate.weight.index_select(0, order);
  ffn.w_up.weight = ffn.w_up.weight.index_select(0, order);
  ffn.w_down.weight = ffn.w_down.weight.index_select(1, order);
  const Statistics statistics = Calibrate(permuted, windows_, kEverything);
  const Tensor expected = Score(model_, statistics_, 1, UnitKind::kFfnChannel).index_select(0, order);
  // Sums over channels run in another order: float32 rounding.
  EXPECT_LT(RelativeDifference(Score(permuted, statistics, 1, UnitKind::kFfnChannel), expected), 1e-4);
}

TEST_P(EveryScorer, PermutesScoresWhenKvGroupsArePermuted) {
  if (ReadsNothing()) GTEST_SKIP() << "reads nothing of the model";
  Model permuted = model_;
  Attention& attention = permuted.blocks[1].attention;  // H = 6, G = 3, D = 4: groups of 4 rows of k, 8 of q
  const auto swap = [](const Tensor& weight, int64_t dim, int64_t count) {
    return at::cat({weight.narrow(dim, 2 * count, count), weight.narrow(dim, 0, 2 * count)}, dim);  // 2 0 1
  };
  attention.w_q.weight = swap(attention.w_q.weight, 0, 8);
  attention.w_k.weight = swap(attention.w_k.weight, 0, 4);
  attention.w_v.weight = swap(attention.w_v.weight, 0, 4);
  attention.w_o.weight = swap(attention.w_o.weight, 1, 8);
  const Statistics statistics = Calibrate(permuted, windows_, kEverything);
  const Tensor expected = swap(Score(model_, statistics_, 1, UnitKind::kKvGroup), 0, 1);
  EXPECT_LT(RelativeDifference(Score(permuted, statistics, 1, UnitKind::kKvGroup), expected), 1e-4);
}

TEST_P(EveryScorer, NamesTheUnitWhoseScoreIsNotFinite) {
  if (ReadsNothing()) GTEST_SKIP() << "reads nothing of the model";
  // Whatever a scorer reads of neuron 3, weights or statistics, it is not a number.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Model model = CopyModel(model_, at::kFloat, at::kCPU);
  Statistics statistics = statistics_;
  if (Registry<Scorer>::Find(GetParam()).info.needs.empty()) {
    model.blocks[1].ffn.w_down.weight.select(1, 3).fill_(nan);
  } else {
    Moments& moments = statistics.blocks[1].ffn_hidden.ordinary;
    for (Tensor* values : {&moments.mean, &moments.squares})
      *values = values->index_fill(0, at::tensor({3}, at::kLong), nan);
    moments.products = moments.products.index_fill(0, at::tensor({3}, at::kLong), nan);
    Tensor& mass = statistics.blocks[1].ffn_channel_mass;
    mass = mass.index_fill(0, at::tensor({3}, at::kLong), nan);
  }
  EXPECT_THROW(Score(model, statistics, 1, UnitKind::kFfnChannel), NumericError);
  EXPECT_EQ(MessageOf([&] { Score(model, statistics, 1, UnitKind::kFfnChannel); }),
            "scorer " + GetParam() +
                ": ffn_channel 3 of block 1: the score is not finite; look at this block's weights and statistics");
}

TEST_P(EveryScorer, RefusesStatisticsOfAnotherModel) {
  if (Registry<Scorer>::Find(GetParam()).info.needs.empty()) GTEST_SKIP() << "reads weights only";
  Statistics wider = Calibrate(TinyModel(1, EvenShape(3, {8, 4, 30})), windows_, kEverything);
  EXPECT_THROW(Score(model_, wider, 0, UnitKind::kFfnChannel), ShapeError);
  EXPECT_THROW(Score(model_, wider, 0, UnitKind::kKvGroup), ShapeError);
  wider.blocks.clear();
  EXPECT_THROW(Score(model_, wider, 0, UnitKind::kKvGroup), ShapeError);
}

TEST_P(EveryScorer, ScoresTheKindsItSaysItDoesAndNamesOthersForTheRest) {
  const auto scorer = Registry<Scorer>::Create(GetParam());
  for (const UnitKindInfo& info : UnitKinds()) {
    SCOPED_TRACE(std::string(info.name));
    const ScoreInput input{model_, PerModel(info.kind) ? kWholeModel : 1, info.kind, &statistics_, true};
    if (scorer->Scores(info.kind)) {
      const Tensor score = CheckedScore(*scorer, GetParam(), input);
      EXPECT_EQ(score.size(0), UnitSpace(model_, input.block, info.kind).size());
    } else {
      EXPECT_THROW(CheckedScore(*scorer, GetParam(), input), RecipeError);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryScorer, testing::ValuesIn(Registry<Scorer>::Names()),
                         [](const testing::TestParamInfo<std::string>& test) { return test.param; });

TEST(Scorer, OfAnUnknownNameListsTheNearest) {
  EXPECT_NE(MessageOf([] { Registry<Scorer>::Create("wanda"); }).find("Nearest: wanda_sp"), std::string::npos);
}

TEST(ScoreColumns, HandsOutTheMomentsOfOrdinaryTokensOrOfAll) {
  const Model model = TinyModel(2);
  const Statistics statistics = Calibrate(model, RandomIds(2, 3, 10, model.config.V), {});
  for (const bool exclude : {true, false})
    ScoreColumns({model, 0, UnitKind::kKvGroup, &statistics, exclude}, [&](const ConsumerInput& consumer) {
      EXPECT_EQ(consumer.moments.count, exclude ? 27 : 30);
      EXPECT_EQ(consumer.role, Role::kO);
      return consumer.moments.mean;
    });
}

// The number of each column of w_o; of w_down 1000 more.
Tensor Numbers(const ConsumerInput& consumer) {
  return at::arange(consumer.weight.size(1), at::kDouble) + (consumer.role == Role::kDown ? 1000 : 0);
}

TEST(ScoreColumns, MakesPartsOfTheColumnsOfEveryKindByHand) {
  // Block 2: H = 2, G = 1, D = 4, F = 28: columns 0 to 7 of w_o, 0 to 27 of w_down.
  const Model model = TinyModel(3);
  const Statistics statistics = Calibrate(model, RandomIds(3, 2, 8, model.config.V), {});
  const auto score = [&](UnitKind kind) { return ScoreColumns({model, 2, kind, &statistics, true}, Numbers); };
  EXPECT_TRUE(at::equal(score(UnitKind::kKvGroup), at::arange(8, at::kDouble).view({1, 8})));
  EXPECT_TRUE(at::equal(score(UnitKind::kQueryHead), at::arange(8, at::kDouble).view({2, 4})));
  EXPECT_TRUE(at::equal(score(UnitKind::kValueChannel), at::arange(8, at::kDouble).view({2, 4}).t()));
  EXPECT_EQ(score(UnitKind::kFfnChannel).sizes(), (at::IntArrayRef{28, 1}));
  EXPECT_EQ(score(UnitKind::kAttention).item<double>(), 28);         // 0 + 1 + .. + 7
  EXPECT_EQ(score(UnitKind::kFfn).item<double>(), 28 * 1000 + 378);  // 27 * 28 / 2
  EXPECT_EQ(score(UnitKind::kBlock).item<double>(), 28 + 28 * 1000 + 378);
}

TEST(ScoreColumns, TakesMeansWhereGroupsHaveLostDifferentHeads) {
  // Block 1 without head 5: groups of 8, 8 and 4 columns: means of 0..7, 8..15 and 16..19.
  const Model model = TinyModel(4);
  Plan plan = KeepAll(model, {UnitKind::kQueryHead});
  plan.blocks[1].At(UnitKind::kQueryHead).kept = {0, 1, 2, 3, 4};
  const Model cut = Cut(model, plan);
  const Statistics statistics = Calibrate(cut, RandomIds(4, 2, 8, model.config.V), {});
  const Tensor score = ScoreColumns({cut, 1, UnitKind::kKvGroup, &statistics, true}, Numbers);
  EXPECT_TRUE(at::equal(score, at::tensor({3.5, 11.5, 17.5}, at::kDouble).view({3, 1}))) << score;
}

TEST(CheckedScore, NamesTheScorersOfAKindThatThisOneHasNoScoreFor) {
  const Model model = TinyModel(5);
  EXPECT_EQ(MessageOf([&] {
              CheckedScore(*Registry<Scorer>::Create("wifv"), "wifv",
                           {model, kWholeModel, UnitKind::kResidualChannel, nullptr, true});
            }),
            "prune.score: scorer wifv has no score for residual_channel; use magnitude, random");
}

TEST(Magnitude, OfAResidualChannelSumsOverTheWholeModel) {
  const Model model = TinyModel(6, {.tied_head = false});
  double expected = 0;  // channel 3, from every tensor that has the model's width
  const auto add = [&](const Tensor& tensor, int64_t dim) {
    expected += tensor.select(dim, 3).to(at::kDouble).square().sum().item<double>();
  };
  add(model.embedding, 1), add(model.head, 1);
  for (const Block& block : model.blocks)
    for (const Role role : kRoles)
      if (block.At(role).defined()) add(block.At(role).weight, role == Role::kO || role == Role::kDown ? 0 : 1);
  const Tensor score =
      Registry<Scorer>::Create("magnitude")->Score({model, kWholeModel, UnitKind::kResidualChannel, nullptr, true});
  EXPECT_NEAR(score[3][0].item<double>(), expected, 1e-9 * expected);
}

}  // namespace
}  // namespace espalier
