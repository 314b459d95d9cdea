#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "score/by_hand.h"
#include "support/support.h"

namespace espalier {
namespace {

TEST(Taylor, TakesTheOrderThatIsAskedFor) {
  const Model model = ModelByHand();
  Statistics statistics = StatisticsByHand();
  statistics.blocks[0].taylor["ffn_channel"] = at::tensor({1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, at::kDouble).view({2, 3});
  const auto& entry = Registry<Scorer>::Find("taylor");
  for (const auto& [order, values] :
       {std::pair{"first", std::pair{1.0, 4.0}}, {"second", {2.0, 5.0}}, {"mixed", {3.0, 6.0}}}) {
    const auto scorer = entry.make(Options(entry.info.options, {{"order", std::string(order)}}, "test"));
    const at::Tensor score = CheckedScore(*scorer, "taylor", {model, 0, UnitKind::kFfnChannel, &statistics});
    EXPECT_TRUE(at::equal(score, at::tensor({values.first, values.second}, at::kDouble).view({2, 1}))) << order;
  }
}

TEST(Taylor, RefusesSumsOfAnotherModel) {
  const Model model = ModelByHand();
  Statistics statistics = StatisticsByHand();
  statistics.blocks[0].taylor["ffn_channel"] = at::ones({5, 3}, at::kDouble);
  EXPECT_EQ(MessageOf([&] {
              Registry<Scorer>::Create("taylor")->Score({model, 0, UnitKind::kFfnChannel, &statistics});
            }),
            "taylor: block 0: statistics of 5 ffn_channel units, the model has 2; calibrate this model again");
}

}  // namespace
}  // namespace espalier
