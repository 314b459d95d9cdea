#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/model/forward.h"
#include "espalier/score/scorer.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

double MeanLoss(const Model& model, const Tensor& ids) {
  const Tensor logits = Logits(model, ids).slice(1, 0, -1).reshape({-1, model.config.V});
  return at::cross_entropy_loss(logits, ids.slice(1, 1).reshape({-1})).item<double>();
}

std::unique_ptr<Scorer> LossIncrease(int64_t sequences) {
  const auto& entry = Registry<Scorer>::Find("loss_increase");
  return entry.make(Options(entry.info.options, {{"sequences", sequences}}, "test"));
}

TEST(LossIncrease, IsTheLossWithoutTheUnitMinusTheDenseOne) {
  const Model model = TinyModel(1);
  const Tensor windows = RandomIds(1, 20, 12, model.config.V);
  const Tensor ids = windows.narrow(0, 0, 11);  // two batches, the second of three
  const auto scorer = LossIncrease(11);
  for (const UnitKind kind :
       {UnitKind::kAttention, UnitKind::kFfn, UnitKind::kBlock, UnitKind::kKvGroup, UnitKind::kQueryHead}) {
    const Tensor score = CheckedScore(*scorer, "loss_increase", {model, 1, kind, nullptr, windows});
    const UnitSpace space(model, 1, kind);
    ASSERT_EQ(score.size(0), space.size());
    for (int64_t unit = 0; unit < space.size(); ++unit) {
      Model masked = CopyModel(model, at::kFloat, at::kCPU);
      for (const Slice& slice : space.Owns(unit))
        if (slice.axis == Axis::kColumns)
          masked.blocks[1].At(slice.role).weight.narrow(1, slice.first, slice.count).zero_();
      EXPECT_NEAR(score[unit].item<double>(), MeanLoss(masked, ids) - MeanLoss(model, ids), 1e-5);
    }
  }
}

TEST(LossIncrease, DoesNotTakeOneModelForAnother) {
  const Model model = TinyModel(1);
  Model other = model;  // shares all tensors but one
  other.blocks[0].ffn.w_down.weight = other.blocks[0].ffn.w_down.weight * 2;
  const Tensor windows = RandomIds(1, 4, 12, model.config.V);
  const auto used = LossIncrease(4);
  used->Score({model, 1, UnitKind::kFfn, nullptr, windows});
  EXPECT_TRUE(at::equal(used->Score({other, 1, UnitKind::kFfn, nullptr, windows}),
                        LossIncrease(4)->Score({other, 1, UnitKind::kFfn, nullptr, windows})));
}

TEST(LossIncrease, OfAUnitThatWritesNothingIsZero) {
  Model model = TinyModel(2);
  model.blocks[2].ffn.w_down.weight = at::zeros_like(model.blocks[2].ffn.w_down.weight);
  const Tensor windows = RandomIds(2, 4, 12, model.config.V);
  EXPECT_EQ(LossIncrease(4)->Score({model, 2, UnitKind::kFfn, nullptr, windows}).item<double>(), 0);
}

}  // namespace
}  // namespace espalier
