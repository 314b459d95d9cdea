#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/analyze/analyze.h"
#include "espalier/calibrate/calibrate.h"
#include "espalier/model/forward.h"
#include "support/attention_by_hand.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kLength = 64;

HeadPhenomena OnlyHead(const Phenomena& phenomena) {
  return phenomena.blocks.at(0).heads.at(0);
}

void ExpectNear(const std::vector<double>& found, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], tolerance) << "at " << i;
}

TEST(SinkMeter, MeasuresUniformAttentionAs0074AtT64AndFindsNoSink) {
  // alpha_1 = (1 + 1/2 + ... + 1/64) / 64 = 4.7439 / 64 = 0.0741.
  Model model = TinyModel(1);
  for (Block& block : model.blocks) block.attention.w_q.weight.zero_();
  const Phenomena phenomena = Analyze(model, RandomIds(1, 5, kLength, model.config.V), {.batch = 2}, "dense");
  EXPECT_NEAR(phenomena.first_token_mass, 0.0741, 5e-5);
  EXPECT_EQ(phenomena.sink_rate, 0);
  ASSERT_EQ(phenomena.blocks[1].heads.size(), 6u);
  for (const HeadPhenomena& head : phenomena.blocks[1].heads) {
    EXPECT_NEAR(head.first_token_mass, 0.0741, 5e-5);
    EXPECT_NEAR(head.alpha, 0.0741, 5e-5);
    EXPECT_NEAR(head.logit_gap, 0, 1e-9);
    EXPECT_FALSE(head.IsSink());
  }
}

TEST(SinkMeter, MeasuresEveryPositionOfUniformAttentionByHand) {
  // alpha_k = mean of 1/t over t = k .. T. At T = 4: 25/48, 13/36, 7/24, 1/4.
  Model model = AttentionByHand(1);
  const auto rates = [&](double epsilon) {
    return Analyze(model, Text({0, 1, 2, 3}), {.sink_epsilon = epsilon, .sink_length = 4}, "dense")
        .sink_rate_by_position;
  };
  EXPECT_EQ(rates(0.24), (std::vector<double>{1, 1, 1, 1}));
  EXPECT_EQ(rates(0.28), (std::vector<double>{1, 1, 1, 0}));
  EXPECT_EQ(rates(0.35), (std::vector<double>{1, 1, 0, 0}));
  EXPECT_EQ(rates(0.5), (std::vector<double>{1, 0, 0, 0}));
  EXPECT_EQ(rates(0.53), (std::vector<double>{0, 0, 0, 0}));
}

TEST(SinkMeter, MeasuresAttentionFixedOnTokenZeroAsOne) {
  const Phenomena phenomena = Analyze(AttentionByHand(1e30), Text({0, 1, 2, 3}), {.sink_length = 4}, "dense");
  EXPECT_NEAR(phenomena.first_token_mass, 1.0, 1e-6);
  EXPECT_EQ(phenomena.sink_rate, 1);
  EXPECT_NEAR(OnlyHead(phenomena).alpha, 1.0, 1e-6);
  EXPECT_TRUE(OnlyHead(phenomena).IsSink());
  EXPECT_EQ(phenomena.sink_rate_by_position, (std::vector<double>{1, 0, 0, 0}));
}

TEST(SinkMeter, CountsOnlyWhatIsStrictlyAboveEpsilon) {
  // Attention fixed on position 0 gives alpha_1 = 1 exactly: 1 > 1 is false.
  const Phenomena phenomena =
      Analyze(AttentionByHand(1e30), Text({0, 1, 2, 3}), {.sink_epsilon = 1, .sink_length = 4}, "dense");
  EXPECT_EQ(OnlyHead(phenomena).alpha, 1.0);
  EXPECT_EQ(phenomena.sink_rate, 0);
}

TEST(SinkMeter, MatchesAnExampleOfThreeTokensWorkedByHand) {
  // Token 0 weighs 2, the others 1. Text 0 1 2: attention to position 0 is 1, 2/3, 2/4: mean 13/18.
  // Text 1 0 2: 1, 1/3, 1/4: mean 19/36. Above 0.6 is the first only: half of the texts, so the head is no sink.
  const Tensor windows = at::cat({Text({0, 1, 2}), Text({1, 0, 2})});
  const Phenomena at_06 = Analyze(AttentionByHand(2), windows, {.sink_epsilon = 0.6, .sink_length = 3}, "dense");
  EXPECT_NEAR(at_06.first_token_mass, (13.0 / 18 + 19.0 / 36) / 2, 1e-6);
  EXPECT_NEAR(OnlyHead(at_06).alpha, (13.0 / 18 + 19.0 / 36) / 2, 1e-6);
  EXPECT_EQ(at_06.sink_rate, 0.5);
  EXPECT_FALSE(OnlyHead(at_06).IsSink());
  const Phenomena at_05 = Analyze(AttentionByHand(2), windows, {.sink_epsilon = 0.5, .sink_length = 3}, "dense");
  EXPECT_EQ(at_05.sink_rate, 1);
  EXPECT_TRUE(OnlyHead(at_05).IsSink());
  // The second position: text 0 1 2 gives it 1/3, 1/4: mean 7/24; text 1 0 2 gives it 2/3, 2/4: mean 7/12, above 0.5.
  // The third sees itself with 1/4 in both.
  EXPECT_EQ(at_05.sink_rate_by_position, (std::vector<double>{1, 0.5, 0}));
}

TEST(SinkMeter, CountsSinksOverTheFirstTokensOnlyAndTheMassOverAll) {
  // Text 0 1 2 3 of the model above: 1, 2/3, 2/4, 2/5. The first two: 5/6; all: 77/120.
  const Phenomena phenomena =
      Analyze(AttentionByHand(2), Text({0, 1, 2, 3}), {.sink_epsilon = 0.8, .sink_length = 2}, "dense");
  EXPECT_EQ(phenomena.sink_rate, 1);
  EXPECT_NEAR(OnlyHead(phenomena).alpha, 5.0 / 6, 1e-6);
  EXPECT_NEAR(phenomena.first_token_mass, 77.0 / 120, 1e-6);
  EXPECT_EQ(phenomena.sink_length, 2);
  EXPECT_EQ(phenomena.sequence_length, 4);
}

TEST(SinkMeter, CountsOnlyTheQueriesThatSeeAPositionThroughAWindow) {
  // Token 0 weighs 2, a query sees itself and the token before it. Text 0 1 2 3: rows (1), (2/3, 1/3), (1/2, 1/2) on
  // positions 1 and 2, (1/2, 1/2) on positions 2 and 3. Position 0 is seen by two queries: (1 + 2/3) / 2 = 5/6, where
  // all four would make 5/12. Then (1/3 + 1/2) / 2 = 5/12, (1/2 + 1/2) / 2, and 1/2 of one query.
  Model model = AttentionByHand(2);
  model.config.blocks[0].window = 2;
  const Phenomena phenomena = Analyze(model, Text({0, 1, 2, 3}), {.sink_epsilon = 0.45, .sink_length = 4}, "dense");
  EXPECT_NEAR(phenomena.first_token_mass, 5.0 / 6, 1e-6);
  EXPECT_NEAR(OnlyHead(phenomena).alpha, 5.0 / 6, 1e-6);
  EXPECT_EQ(phenomena.sink_rate_by_position, (std::vector<double>{1, 0, 1, 1}));
  EXPECT_EQ(phenomena.blocks[0].window, 2);
  // One query sees position 0 and another key: the gap is log(2) - 0, without spread.
  EXPECT_NEAR(OnlyHead(phenomena).logit_gap, std::log(2), 1e-6);
  EXPECT_NEAR(OnlyHead(phenomena).logit_gap_deviation, 0, 1e-6);
}

TEST(SinkMeter, LeavesOutTheMassThatASinkLogitTakes) {
  // Token 0 weighs 2, the others 1, the extra logit 3. Text 0 1 2: attention to position 0 is 2/5, 2/6, 2/7.
  Model model = AttentionByHand(2);
  model.config.blocks[0].sink_logits = true;
  model.blocks[0].attention.sink_logits = at::full({1}, std::log(3.0));
  const Phenomena phenomena = Analyze(model, Text({0, 1, 2}), {.sink_epsilon = 0.33, .sink_length = 3}, "dense");
  EXPECT_NEAR(phenomena.first_token_mass, 107.0 / 315, 1e-6);  // without the logit 13/18
  EXPECT_EQ(phenomena.sink_rate, 1);                           // 0.3397 > 0.33
  EXPECT_NEAR(OnlyHead(phenomena).logit_gap, std::log(2), 1e-6);
}

TEST(SinkMeter, MeasuresTheLogitGapByHand) {
  // Logits are log(2) for token 0 and 0 for the others. Text 1 0 2: query 1 sees 0 against log(2), query 2 sees 0
  // against the mean of log(2) and 0: gaps -log(2) and -log(2) / 2, mean -3/4 log(2), deviation 1/4 log(2).
  const Phenomena phenomena = Analyze(AttentionByHand(2), Text({1, 0, 2}), {.sink_length = 3}, "dense");
  EXPECT_NEAR(OnlyHead(phenomena).logit_gap, -0.75 * std::log(2), 1e-6);
  EXPECT_NEAR(OnlyHead(phenomena).logit_gap_deviation, 0.25 * std::log(2), 1e-6);
}

// A single block, so that the taps of a whole pass are that block's.
BlockTaps TapsOf(const Model& model, const Tensor& ids) {
  BlockTaps taps({Site::kQ, Site::kK, Site::kHeadOut});
  HiddenStates(model, ids, &taps);
  return taps;
}

// Mean and deviation of the gap of one head, from every logit.
std::pair<double, double> GapFromLogits(const Tensor& q, const Tensor& k, double scale, int64_t window) {  // [B, T, D]
  const Tensor logits = q.to(at::kDouble).matmul(k.to(at::kDouble).transpose(1, 2)) * scale;
  const auto at = logits.accessor<double, 3>();
  std::vector<double> gaps;
  for (int64_t b = 0; b < logits.size(0); ++b)
    for (int64_t t = 1; t < logits.size(1) && (window == 0 || t < window); ++t) {
      double others = 0;
      for (int64_t i = 1; i <= t; ++i) others += at[b][t][i];
      gaps.push_back(at[b][t][0] - others / static_cast<double>(t));
    }
  double mean = 0, square = 0;
  for (const double gap : gaps) mean += gap / static_cast<double>(gaps.size());
  for (const double gap : gaps) square += (gap - mean) * (gap - mean) / static_cast<double>(gaps.size());
  return {mean, std::sqrt(square)};
}

TEST(SinkMeter, MeasuresTheLogitGapOfExplicitLogits) {
  for (const int64_t window : {int64_t{0}, int64_t{5}}) {
    TinyShape shape{.blocks = {{6, 3, 20}}};
    shape.qk_norm = QkNorm::kPerHead;
    Model model = TinyModel(3, shape);
    model.config.attention_scale = 0.7;
    model.config.blocks[0].window = window;
    const Tensor ids = RandomIds(3, 5, 20, model.config.V);
    const BlockTaps taps = TapsOf(model, ids);
    const Phenomena phenomena = Analyze(model, ids, {.sink_length = 8, .batch = 2}, "dense");
    for (int64_t h = 0; h < 6; ++h) {
      const auto [mean, deviation] =
          GapFromLogits(taps.At(Site::kQ).select(1, h), taps.At(Site::kK).select(1, h / 2), 0.7, window);
      const HeadPhenomena& head = phenomena.blocks[0].heads[static_cast<size_t>(h)];
      EXPECT_NEAR(head.logit_gap, mean, 1e-9) << "window " << window << ", head " << h;
      EXPECT_NEAR(head.logit_gap_deviation, deviation, 1e-7) << "window " << window << ", head " << h;
      EXPECT_GT(deviation, 0.1);
    }
  }
}

TEST(SinkMeter, ClassifiesSinkHeadsByTheNormsOfTheirValues) {
  // |v| of tokens 1, 2, 3 is 1, 2, 3 (mean 2), of token 0 it is 0.5: ratio 0.25. Attention is fixed on token 0.
  Model model = AttentionByHand(1e30);
  SetValues(model, {at::tensor({0.5, 0., 0., 0.}), at::tensor({0., 1., 0., 0.}), at::tensor({0., 0., 2., 0.}),
                    at::tensor({3., 0., 0., 0.})});
  const auto head = [&](double no_op_ratio, const Tensor& text) {
    return OnlyHead(Analyze(model, text, {.sink_length = 4, .no_op_ratio = no_op_ratio}, "dense"));
  };
  EXPECT_NEAR(head(0.2, Text({0, 1, 2, 3})).value_norm_ratio, 0.25, 1e-6);
  EXPECT_EQ(head(0.2, Text({0, 1, 2, 3})).head_class, HeadClass::kBroadcast);
  EXPECT_EQ(head(0.3, Text({0, 1, 2, 3})).head_class, HeadClass::kNoOp);
  // Where position 0 holds token 3 and position 3 token 0, attention on position 0 is 1, 1, 1, 0 and the ratio
  // 3 / mean(1, 2, 0.5) = 18/7.
  EXPECT_NEAR(head(0.2, Text({3, 1, 2, 0})).value_norm_ratio, 18.0 / 7, 1e-6);
}

TEST(SinkMeter, CallsNoHeadANoOpThatIsNoSink) {
  Model model = AttentionByHand(1);
  SetValues(model, {at::zeros({4}), at::ones({4}), at::ones({4}), at::ones({4})});
  const Phenomena phenomena = Analyze(model, Text({0, 1, 2, 3}), {.sink_epsilon = 0.6, .sink_length = 4}, "dense");
  EXPECT_EQ(OnlyHead(phenomena).value_norm_ratio, 0);
  EXPECT_EQ(OnlyHead(phenomena).head_class, HeadClass::kNonSink);
}

TEST(SinkMeter, MeasuresOutputsByHandWithoutTheFirstToken) {
  // Text 1 0 2, attention fixed on token 0 where it is seen: outputs v_1, v_0, v_0 with v_1 = 0 and v_0 = (3, 0, 4, 0),
  // norm 5. w_o writes 2 * 3 to channel 0 and 4 to channel 1: norm sqrt(52). With the first token: two thirds of it.
  Model model = AttentionByHand(1e30);
  SetValues(model, {at::tensor({3., 0., 4., 0.}), at::zeros({4}), at::ones({4}), at::ones({4})});
  Tensor& w_o = model.blocks[0].attention.w_o.weight;  // [16, 4]
  w_o.zero_();
  w_o[0][0] = 2;
  w_o[1][2] = 1;
  const HeadPhenomena head = OnlyHead(Analyze(model, Text({1, 0, 2}), {.sink_length = 3}, "dense"));
  EXPECT_NEAR(head.output_norm, 5, 1e-6);
  EXPECT_NEAR(head.written_norm, std::sqrt(52), 1e-6);
}

TEST(SinkMeter, MeasuresWhatEachGatedHeadWritesThroughItsSliceOfTheProjection) {
  TinyShape shape{.blocks = {{6, 3, 20}}};
  shape.gate = GateKind::kElementwise;
  const Model model = TinyModel(4, shape);
  const Tensor ids = RandomIds(4, 5, 12, model.config.V);
  const Tensor rows = TapsOf(model, ids).At(Site::kHeadOut).narrow(1, 1, 11).flatten(0, 1);  // [55, 24]
  const Phenomena phenomena = Analyze(model, ids, {.sink_length = 8, .batch = 2}, "dense");
  for (int64_t h = 0; h < 6; ++h) {
    const Tensor y = rows.narrow(1, 4 * h, 4);
    const Tensor written = y.matmul(model.blocks[0].attention.w_o.weight.narrow(1, 4 * h, 4).t());  // [55, 16]
    const HeadPhenomena& head = phenomena.blocks[0].heads[static_cast<size_t>(h)];
    EXPECT_NEAR(head.output_norm, y.norm(2, -1).mean().item<double>(), 1e-6);
    EXPECT_NEAR(head.written_norm, written.norm(2, -1).mean().item<double>(), 1e-6);
  }
}

TEST(SinkMeter, GivesTheSameFiguresWhateverTheBatch) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(5, shape);
    const Tensor ids = RandomIds(5, 5, 20, model.config.V);
    const Phenomena one = Analyze(model, ids, {.sink_epsilon = 0.2, .sink_length = 8, .batch = 1}, name);
    const Phenomena all = Analyze(model, ids, {.sink_epsilon = 0.2, .sink_length = 8, .batch = 5}, name);
    ExpectNear(one.sink_rate_by_position, all.sink_rate_by_position, 1e-12);
    EXPECT_NEAR(one.sink_rate, one.sink_rate_by_position[0], 1e-12) << name;
    for (size_t l = 0; l < one.blocks.size(); ++l)
      for (size_t h = 0; h < one.blocks[l].heads.size(); ++h) {
        const HeadPhenomena &a = one.blocks[l].heads[h], &b = all.blocks[l].heads[h];
        ExpectNear({a.first_token_mass, a.alpha, a.logit_gap, a.value_norm_ratio, a.output_norm, a.written_norm},
                   {b.first_token_mass, b.alpha, b.logit_gap, b.value_norm_ratio, b.output_norm, b.written_norm}, 1e-5);
        EXPECT_NEAR(a.logit_gap_deviation, b.logit_gap_deviation, 1e-5) << name;
      }
  }
}

TEST(SinkMeter, LeavesOutBlocksWithoutAttention) {
  // Rates are shares of heads that there are: 4 heads of uniform attention, alpha_8 = 1/8 of one query.
  Model model = TinyModel(3, {.blocks = {{4, 2, 0}, {0, 0, 8}}});
  model.blocks[0].attention.w_q.weight.zero_();
  const Phenomena phenomena =
      Analyze(model, RandomIds(3, 2, 8, model.config.V), {.sink_epsilon = 0.12, .sink_length = 8}, "pruned");
  EXPECT_EQ(phenomena.sink_rate_by_position, std::vector<double>(8, 1));
  EXPECT_TRUE(phenomena.blocks[1].heads.empty());
}

TEST(SinkMeter, RefusesOutputsThatAreNotFinite) {
  Model model = TinyModel(3, EvenShape(2));
  model.blocks[1].attention.w_v.weight[0][0] = std::nan("");
  EXPECT_EQ(MessageOf([&] { Analyze(model, RandomIds(3, 1, 8, model.config.V), {.sink_length = 8}, "dense"); }),
            "block 1: head_out: a value is not finite; check the checkpoint, or use dtype float32");
}

}  // namespace
}  // namespace espalier
