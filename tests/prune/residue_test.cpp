#include "espalier/prune/residue.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "espalier/core/error.h"
#include "espalier/core/registry.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "espalier/plan/ledger.h"
#include "espalier/prune/compensator.h"
#include "espalier/prune/cut.h"
#include "support/letter_tokenizer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr double kOpen = 1.278464542761074;  // SiLU is 1 there

Tensor Windows(const Model& model) {
  return RandomIds(1, 40, 16, model.config.V);
}

ResidueData Data(const Model& model, int64_t rank, double ridge = 1e-9) {
  return {.windows = Windows(model), .rank = rank, .ridge = ridge, .batch = 7};
}

Plan Without(const Model& model, const std::vector<int64_t>& channels, size_t block = 0) {
  Plan plan = KeepAll(model);
  std::erase_if(plan.blocks[block].At(UnitKind::kFfnChannel).kept,
                [&](int64_t channel) { return std::ranges::find(channels, channel) != channels.end(); });
  return plan;
}

// One block; channels 4 to 7 of its FFN are linear, and 20 to 23 write nothing.
Model HalfLinear() {
  Model model = TinyModel(3, EvenShape(1));
  FeedForward& ffn = model.blocks[0].ffn;
  ffn.w_gate.bias = at::zeros({24});
  ffn.w_gate.bias.narrow(0, 4, 4).fill_(kOpen);
  ffn.w_gate.weight = ffn.w_gate.weight.clone();
  ffn.w_gate.weight.narrow(0, 4, 4).zero_();
  ffn.w_down.weight = ffn.w_down.weight.clone();
  ffn.w_down.weight.narrow(1, 20, 4).zero_();
  return model;
}

TEST(Residue, GivesBackWhatLinearChannelsDidInThePlaceOfIdleOnes) {
  const at::NoGradGuard no_grad;
  const Model model = HalfLinear();
  const Plan plan = Without(model, {4, 5, 6, 7});
  Model cut = Cut(model, plan);
  const Tensor ids = RandomIds(9, 3, 12, model.config.V), dense = Logits(model, ids);
  EXPECT_GT(RelativeDifference(Logits(cut, ids), dense), 1e-2);
  EXPECT_NEAR(AddResidue(model, plan, Data(model, 4), cut), 1, 1e-4);
  EXPECT_LT(RelativeDifference(Logits(cut, ids), dense), 1e-3);
  EXPECT_EQ(cut.config.blocks[0].F, 20);
  for (int64_t place = 16; place < 20; ++place) {  // where channels 20 to 23 were
    EXPECT_EQ(cut.blocks[0].ffn.w_gate.weight[place].abs().max().item<float>(), 0);
    EXPECT_NEAR(cut.blocks[0].ffn.w_gate.bias[place].item<float>(), kOpen, 1e-6);
  }
}

// Of the only block's output: all that is different there is what its FFN adds.
double SquaredError(const Model& model, const Model& cut, const Tensor& ids) {
  const Rope rope = MakeRope(model.config, ids.size(1), model.device(), model.dtype());
  const Tensor h = Embed(model, ids);
  return (RunBlock(model, 0, h, rope) - RunBlock(cut, 0, h, rope)).square().sum(at::kDouble).item<double>();
}

TEST(Residue, IsTheLeastSquaredErrorOfItsRank) {
  const at::NoGradGuard no_grad;
  const Model model = TinyModel(4, EvenShape(1));
  const Plan plan = Without(model, {0, 3, 5, 8, 9, 13, 17, 20});
  Model cut = Cut(model, plan);
  AddResidue(model, plan, Data(model, 2), cut);
  const Tensor ids = Windows(model);
  const double least = SquaredError(model, cut, ids);
  ASSERT_GT(least, 0);
  const Tensor linear = cut.blocks[0].ffn.w_gate.bias.gt(1).nonzero().squeeze(1);
  ASSERT_EQ(linear.numel(), 2);
  at::Generator generator = at::detail::createCPUGenerator(5);
  for (int trial = 0; trial < 12; ++trial) {
    Model other = cut;
    FeedForward& ffn = other.blocks[0].ffn;
    if (trial % 3 == 0) {
      ffn.w_down.weight = ffn.w_down.weight + 0.02 * at::empty_like(ffn.w_down.weight).normal_(0, 1, generator);
    } else if (trial % 3 == 1) {
      const Tensor rows = 0.02 * at::empty({2, model.config.C}).normal_(0, 1, generator);
      ffn.w_up.weight = ffn.w_up.weight.index_add(0, linear, rows);
    } else {
      ffn.w_down.bias = ffn.w_down.bias + 0.02 * at::empty_like(ffn.w_down.bias).normal_(0, 1, generator);
    }
    EXPECT_GT(SquaredError(model, other, ids), least) << "trial " << trial;
  }
}

TEST(Residue, OfAHigherRankLeavesLessWhileIdleChannelsPayForIt) {
  const at::NoGradGuard no_grad;
  const Model model = HalfLinear();
  const Plan plan = Without(model, {0, 4, 5, 6, 7, 12});
  double before = 1e30;
  for (const int64_t rank : {1, 2, 3, 4}) {
    Model cut = Cut(model, plan);
    AddResidue(model, plan, Data(model, rank), cut);
    const double error = SquaredError(model, cut, Windows(model));
    EXPECT_LT(error, before) << "rank " << rank;
    before = error;
  }
}

TEST(Residue, NeverTakesThePlaceOfAProtectedChannel) {
  const Model model = HalfLinear();
  Plan plan = Without(model, {4, 5, 6, 7});
  plan.protected_units.push_back({{0, UnitKind::kFfnChannel, 21}, "keep", "named"});
  Model cut = Cut(model, plan);
  AddResidue(model, plan, Data(model, 3), cut);
  EXPECT_EQ(cut.blocks[0].ffn.w_gate.bias[17].item<float>(), 0);  // channel 21
  EXPECT_EQ(cut.blocks[0].ffn.w_gate.bias.gt(1).sum().item<int64_t>(), 3);
}

TEST(Residue, IsInThePlansAccount) {
  const Model model = TinyModel(6);
  const Plan plan = Without(model, {1, 2, 3}, 1);
  Model cut = Cut(model, plan);
  AddResidue(model, plan, Data(model, 2, 0.01), cut);
  const Ledger ledger = LedgerOf(model, plan, {.compensation_adds_bias = true, .residue_adds_bias = true});
  EXPECT_EQ(ledger.Total().block_parameters, DenseCost(cut).block_parameters);
  EXPECT_EQ(ledger.Total().block_parameters,
            LedgerOf(model, plan, {.compensation_adds_bias = true}).Total().block_parameters + 24 + 17 + 28);
}

TEST(Residue, LeavesBlocksThatLostNoChannelsAsTheyWereButForABiasOfZero) {
  const Model model = TinyModel(6);
  const Plan plan = Without(model, {1, 2, 3}, 1);
  Model cut = Cut(model, plan);
  AddResidue(model, plan, Data(model, 2, 0.01), cut);
  EXPECT_TRUE(at::equal(cut.blocks[0].ffn.w_gate.bias, at::zeros({24})));
  EXPECT_TRUE(cut.blocks[2].ffn.w_down.weight.is_same(model.blocks[2].ffn.w_down.weight));
}

TEST(Residue, SurvivesAFile) {
  const at::NoGradGuard no_grad;
  const TempFolder folder;
  const Model model = TinyModel(6);
  const Plan plan = Without(model, {1, 2, 3}, 1);
  Model cut = Cut(model, plan);
  AddResidue(model, plan, Data(model, 2, 0.01), cut);
  SaveModel(cut, LetterTokenizer(model.config.V), folder / "model");
  const Tensor ids = RandomIds(2, 2, 8, model.config.V);
  EXPECT_TRUE(at::equal(Logits(cut, ids), Logits(LoadModel(folder / "model", at::kFloat, at::kCPU), ids)));
}

TEST(Residue, RefusesWhatItCannotFit) {
  const auto message = [](const Model& model, const Plan& plan, int64_t rank) {
    Model cut = Cut(model, plan);
    return MessageOf([&] { AddResidue(model, plan, Data(model, rank), cut); });
  };
  const Model model = TinyModel(6);
  EXPECT_NE(message(model, Without(model, {1, 2, 3}, 1), 17).find("block 1 keeps 17"), std::string::npos);
  Plan narrow = Without(model, {1});
  narrow.residual_channels = KeptUnits{16, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}};
  EXPECT_NE(message(model, narrow, 1).find("residual channels"), std::string::npos);
  Model plain = model;
  for (Block& block : plain.blocks) block.ffn.w_gate = Linear();
  Model cut = Cut(model, Without(model, {1}));
  EXPECT_NE(MessageOf([&] { AddResidue(plain, Without(model, {1}), Data(model, 1), cut); }).find("gate"),
            std::string::npos);
}

TEST(LeastSquares, FitsAResidueOnTheDenseModelOnly) {
  const auto make = [](const std::map<std::string, OptionValue>& values) {
    return Registry<Compensator>::Create(
        "least_squares", Options(Registry<Compensator>::Find("least_squares").info.options, values, "test"));
  };
  EXPECT_FALSE(make({})->Residue().has_value());
  EXPECT_EQ(make({{"residue", int64_t{8}}})->Residue()->rank, 8);
  EXPECT_NE(MessageOf([&] {
              make({{"residue", int64_t{8}}, {"inputs", std::string("pruned")}});
            }).find("inputs: dense"),
            std::string::npos);
}

}  // namespace
}  // namespace espalier
