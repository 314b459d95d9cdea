#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "score/by_hand.h"

namespace espalier {
namespace {

at::Tensor Score(const Model& model, UnitKind kind, bool leave_out) {
  const Statistics statistics = StatisticsByHand(leave_out);
  return Registry<Scorer>::Create("hidden_norm")->Score({model, 0, kind, &statistics});
}

TEST(HiddenNorm, OfAnFfnChannelIsTheNormOfItsInputs) {
  // Ordinary tokens sqrt(1 + 9), sqrt(16 + 16); with the outlier sqrt(10 + 25), sqrt(32 + 4).
  const Model model = ModelByHand();
  const at::Tensor ordinary = Score(model, UnitKind::kFfnChannel, true);
  const at::Tensor all = Score(model, UnitKind::kFfnChannel, false);
  EXPECT_TRUE(at::allclose(ordinary, at::tensor({std::sqrt(10.0), std::sqrt(32.0)}, at::kDouble).view({2, 1})));
  EXPECT_TRUE(at::allclose(all, at::tensor({std::sqrt(35.0), 6.0}, at::kDouble).view({2, 1})));
}

TEST(HiddenNorm, OfAKvGroupHasOnePartForEachColumnItFeeds) {
  // Columns of w_o, ordinary tokens: (1, 1), (0, 4), (2, 2), (3, 5).
  const at::Tensor score = Score(ModelByHand(), UnitKind::kKvGroup, true).square();
  EXPECT_TRUE(at::allclose(score, at::tensor({2.0, 16.0, 8.0, 34.0}, at::kDouble).view({2, 2}))) << score;
}

TEST(HiddenNorm, RanksAsTheFineScoreOfCfspDoes) {
  // CFSP's published formula, written out: mean_i (|W_down| ||X|| + |W_up|^T + |W_gate|^T, each over its column's sum)
  // ||X_j||. Any weights give the same multiple of ||X_j||: 3 / C.
  const Model model = ModelByHand();
  const FeedForward& ffn = model.blocks[0].ffn;
  const at::Tensor norm = at::tensor({std::sqrt(10.0), std::sqrt(32.0)}, at::kDouble);
  const auto share = [](const at::Tensor& w) { return w.abs() / w.abs().sum(0); };
  const at::Tensor cfsp = ((share(ffn.w_down.weight.to(at::kDouble) * norm) +
                            share(ffn.w_up.weight.to(at::kDouble).t()) + share(ffn.w_gate.weight.to(at::kDouble).t())) *
                           norm)
                              .mean(0);
  EXPECT_TRUE(at::allclose(cfsp, 1.5 * Score(model, UnitKind::kFfnChannel, true).view({2}))) << cfsp;
}

}  // namespace
}  // namespace espalier
