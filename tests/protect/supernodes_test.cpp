#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/error.h"
#include "espalier/protect/rule.h"
#include "espalier/score/scorer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

std::vector<Protection> Found(const ModelConfig& model, const Statistics* statistics, double share) {
  const auto& entry = Registry<ProtectionRule>::Find("supernodes");
  return entry.make(Options(entry.info.options, {{"share", share}}, "test"))->Protect({model, {}, statistics});
}

// Loss masses by hand, one list a block.
struct Masses {
  ModelConfig model;
  Statistics statistics;
  explicit Masses(const std::vector<std::vector<double>>& of_blocks) {
    for (const std::vector<double>& masses : of_blocks) {
      BlockConfig block;
      block.F = std::ssize(masses);
      model.blocks.push_back(block);
      BlockStatistics sums;
      if (!masses.empty()) sums.loss_mass["ffn_channel"] = at::tensor(masses, at::kDouble);
      statistics.blocks.push_back(sums);
    }
  }
};

TEST(Supernodes, RanksTheChannelsOfAllBlocksTogether) {
  const Masses masses({{1, 50, 2, 3}, {}, {0.5, 30, 0.5, 13}});
  // A quarter of eight is two: 50 and 30 of 100.
  const std::vector<Protection> found = Found(masses.model, &masses.statistics, 0.25);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].unit, (Unit{0, UnitKind::kFfnChannel, 1}));
  EXPECT_EQ(found[0].rule, "supernodes");
  EXPECT_EQ(found[0].reason, "holds 50.00 % of the Fisher loss mass of all FFN channels: number 1 of 8");
  EXPECT_EQ(found[1].unit, (Unit{2, UnitKind::kFfnChannel, 1}));
  EXPECT_EQ(found[1].reason, "holds 30.00 % of the Fisher loss mass of all FFN channels: number 2 of 8");
}

TEST(Supernodes, KeepsAtLeastOneAndNoneWithoutMass) {
  const Masses masses({{0, 7, 0, 0}});
  EXPECT_EQ(Found(masses.model, &masses.statistics, 0.01).size(), 1u);
  EXPECT_EQ(Found(masses.model, &masses.statistics, 1).size(), 1u);
  const Masses none(std::vector<std::vector<double>>(1));
  EXPECT_TRUE(Found(none.model, &none.statistics, 0.5).empty());
}

TEST(Supernodes, RefusesStatisticsOfAnotherModel) {
  const Masses four({{1, 2, 3, 4}}), three({{1, 2, 3}}), two({{1, 2, 3}, {1, 2, 3}});
  EXPECT_NE(MessageOf([&] {
              Found(four.model, &three.statistics, 0.5);
            }).find("block 0: loss masses of 3 FFN channels, the model has 4; calibrate this model again"),
            std::string::npos);
  EXPECT_THROW(Found(two.model, &three.statistics, 0.5), ShapeError);
  EXPECT_THROW(Found(three.model, nullptr, 0.5), InternalError);
}

TEST(Supernodes, AgreesWithTheRankingOfTheScorerFisher) {
  const Model model = TinyModel(3);
  const Statistics statistics = Calibrate(model, RandomIds(3, 4, 16, model.config.V), {.gradients = true});
  std::vector<std::pair<double, Unit>> ranked;
  for (int64_t l = 0; l < model.config.L(); ++l) {
    const at::Tensor score = Registry<Scorer>::Create("fisher")->Score({model, l, UnitKind::kFfnChannel, &statistics});
    for (int64_t i = 0; i < score.size(0); ++i)
      ranked.emplace_back(score[i][0].item<double>(), Unit{l, UnitKind::kFfnChannel, i});
  }
  std::sort(ranked.rbegin(), ranked.rend());
  const std::vector<Protection> found = Found(model.config, &statistics, 0.1);
  ASSERT_EQ(found.size(), 7u);  // of 24 + 20 + 28
  for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].unit, ranked[i].second);
}

}  // namespace
}  // namespace espalier
