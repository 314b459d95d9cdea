#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/calibrate/calibrate.h"
#include "espalier/model/forward.h"
#include "espalier/score/scorer.h"
#include "support/losses.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

class LearnedMasks : public testing::Test {
 protected:
  Tensor Scores(const Scorer& scorer, int64_t block, UnitKind kind, double remove) const {
    return scorer.Score({.model = model_,
                         .block = block,
                         .kind = kind,
                         .statistics = &statistics_,
                         .windows = windows_,
                         .remove = remove,
                         .kinds = &kinds_});
  }
  std::unique_ptr<Scorer> Make(int64_t steps, double rate = 0.1) const {
    Options options(Registry<Scorer>::Find("learned_mask").info.options);
    options.Set("steps", steps);
    options.Set("rate", rate);
    return Registry<Scorer>::Create("learned_mask", options);
  }

  Model model_ = CopyModel(TinyModel(3), at::kDouble, at::kCPU);
  Tensor windows_ = RandomIds(4, 4, 16, model_.config.V);
  Statistics statistics_ = Calibrate(model_, windows_, {.gradients = true, .gradient_tokens = 64});
  std::vector<UnitKind> kinds_ = {UnitKind::kFfnChannel};
};

// The first step of Adam moves every logit by the rate against the sign of the slope within the budget, which is found
// here by central differences of the masked model's loss.
TEST_F(LearnedMasks, StepAgainstTheSlopeOfTheLossWithinTheBudget) {
  constexpr double kRemove = 0.2, kRate = 0.1;
  std::vector<Tensor> masses;
  for (const BlockStatistics& block : statistics_.blocks) masses.push_back(block.loss_mass.at("ffn_channel"));
  const double cost = static_cast<double>(UnitSpace(model_, 0, UnitKind::kFfnChannel).Cost(0).parameters);
  const Tensor raw = (at::cat(masses) / cost).log(), start = (raw - raw.mean()) / raw.std();
  const double left =
      static_cast<double>(start.numel()) - kRemove * static_cast<double>(CountBlockParameters(model_)) / cost;
  double low = -100, high = 100;
  while (high - low > 1e-12) {
    const double theta = (low + high) / 2;
    ((start - theta).sigmoid().sum().item<double>() > left ? low : high) = theta;
  }
  const Tensor soft = (start - low).sigmoid();
  const auto loss = [&](const Tensor& masks) {
    Model masked = model_;
    for (int64_t l = 0, first = 0; l < model_.config.L(); ++l) {
      Linear& down = masked.blocks[static_cast<size_t>(l)].ffn.w_down;
      down.weight = down.weight * masks.narrow(0, first, down.weight.size(1));
      first += down.weight.size(1);
    }
    return MeanLoss(masked, windows_);
  };
  constexpr double kStep = 1e-3;
  Tensor slope = at::empty_like(soft);
  for (int64_t unit = 0; unit < soft.numel(); ++unit) {
    Tensor more = soft.clone(), less = soft.clone();
    more[unit] += kStep;
    less[unit] -= kStep;
    slope[unit] = (loss(more) - loss(less)) / (2 * kStep);
  }
  const Tensor width = soft * (1 - soft), descent = (slope - (slope * width).sum() / width.sum()) * width;
  const auto scorer = Make(1, kRate);
  std::vector<Tensor> after;
  for (int64_t l = 0; l < model_.config.L(); ++l)
    after.push_back(Scores(*scorer, l, UnitKind::kFfnChannel, kRemove).squeeze(1));
  const Tensor moved = at::cat(after) - start;
  const Tensor clear = descent.abs() > 0.05 * descent.abs().max();
  EXPECT_GT(clear.sum().item<int64_t>(), 10);
  EXPECT_TRUE(at::allclose(moved.masked_select(clear), -kRate * descent.masked_select(clear).sign(), 0, 1e-3));
}

TEST_F(LearnedMasks, AreBitwiseTheSameEveryTimeAndHaveARowForEveryUnitOfEveryKind) {
  kinds_ = {UnitKind::kKvGroup, UnitKind::kQueryHead, UnitKind::kFfnChannel};
  const auto first = Make(5), second = Make(5);
  for (const UnitKind kind : kinds_)
    for (int64_t l = 0; l < model_.config.L(); ++l) {
      const Tensor scores = Scores(*first, l, kind, 0.3);
      EXPECT_EQ(scores.sizes(), (std::vector<int64_t>{UnitSpace(model_, l, kind).size(), 1}));
      EXPECT_TRUE(at::equal(scores, Scores(*second, l, kind, 0.3)));
    }
}

}  // namespace
}  // namespace espalier
