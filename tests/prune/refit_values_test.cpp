#include "espalier/prune/refit_values.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/error.h"
#include "espalier/model/forward.h"
#include "espalier/plan/ledger.h"
#include "espalier/prune/compensator.h"
#include "espalier/prune/cut.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

RefitValuesData Data(const Model& model, double ridge = 1e-9) {
  return {.windows = RandomIds(1, 24, 16, model.config.V), .ridge = ridge, .batch = 5};
}

// Block 0 loses every other FFN channel; nothing else changes.
Model CutFirst(const Model& model) {
  Plan plan = KeepAll(model);
  std::erase_if(plan.blocks[0].At(UnitKind::kFfnChannel).kept, [](int64_t channel) { return channel % 2 == 1; });
  return Cut(model, plan);
}

Tensor StreamBefore(const Model& model, int64_t l, const Tensor& ids) {
  const Rope rope = MakeRope(model.config, ids.size(1), model.device(), model.dtype());
  Tensor h = Embed(model, ids);
  for (int64_t block = 0; block < l; ++block) h = RunBlock(model, block, h, rope);
  return h;
}

TEST(RefitValues, IsTheRegressionOfDenseValuesOnWhatReachesTheCutModel) {
  const at::NoGradGuard no_grad;
  const Model model = TinyModel(1);
  const RefitValuesData data = Data(model);
  const Model before = CutFirst(model);
  Model cut = before;
  RefitValues(model, data, cut);
  // Brute force for block 1: rows scaled by the square root of what they count, solved by the pseudoinverse.
  const Tensor h = StreamBefore(model, 1, data.windows);
  const Tensor x = AttentionInput(model, 1, h).flatten(0, 1).to(at::kDouble);
  const Tensor y = AttentionInput(cut, 1, StreamBefore(cut, 1, data.windows)).flatten(0, 1).to(at::kDouble);
  const Tensor outlier = OutlierTokens(h, h, data.outlier_ratio).flatten();
  EXPECT_GE(outlier.sum().item<int64_t>(), 24);                                   // the first token of each window
  const Tensor root = at::where(outlier, 4.0, 1.0).to(at::kDouble).unsqueeze(1);  // 16 tokens a window
  const Tensor targets = x.matmul(model.blocks[1].attention.w_v.weight.to(at::kDouble).t());
  const Tensor solution = at::linalg_pinv(y * root).matmul(targets * root).t();
  EXPECT_LT(RelativeDifference(cut.blocks[1].attention.w_v.weight, solution), 1e-4);
}

TEST(RefitValues, LeavesEverythingElseAndWhatNothingReached) {
  const Model model = TinyModel(2);
  const Model before = CutFirst(model);
  Model cut = before;
  RefitValues(model, Data(model), cut);
  for (size_t l = 0; l < cut.blocks.size(); ++l)
    for (const Role role : kRoles) {
      if (!before.blocks[l].At(role).defined()) continue;
      EXPECT_EQ(cut.blocks[l].At(role).weight.is_same(before.blocks[l].At(role).weight), l == 0 || role != Role::kV)
          << l << " " << RoleName(role);
    }
  EXPECT_EQ(CountParameters(cut), CountParameters(before));
}

TEST(RefitValues, BringsTheStreamNearerToTheDenseOneInEveryFamily) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, shape] : FamilyShapes()) {
    SCOPED_TRACE(name);
    const Model model = TinyModel(3, shape);
    const RefitValuesData data = Data(model);
    const Model before = CutFirst(model);
    Model cut = before;
    RefitValues(model, data, cut);
    const auto error = [&](const Model& other) {
      const Tensor values = AttentionInput(model, 1, StreamBefore(model, 1, data.windows))
                                .matmul(model.blocks[1].attention.w_v.weight.t());
      const Tensor own = AttentionInput(other, 1, StreamBefore(other, 1, data.windows))
                             .matmul(other.blocks[1].attention.w_v.weight.t());
      return (values - own).square().mean().item<double>();
    };
    EXPECT_LT(error(cut), error(before));
  }
}

TEST(RefitValues, PullsTowardTheOldWeights) {
  const Model model = TinyModel(4);
  const Model before = CutFirst(model);
  Model cut = before;
  RefitValues(model, Data(model, 1e9), cut);
  EXPECT_LT(RelativeDifference(cut.blocks[2].attention.w_v.weight, before.blocks[2].attention.w_v.weight), 1e-6);
}

TEST(RefitValues, RefusesACutOfTheResidualStream) {
  const Model model = TinyModel(5);
  Plan plan = KeepAll(model, {UnitKind::kResidualChannel});
  std::erase(plan.residual_channels->kept, 3);
  Model cut = Cut(model, plan);
  EXPECT_THROW(RefitValues(model, Data(model), cut), RecipeError);
}

TEST(RefitValues, NamesTheBlockWhereAValueIsNotFinite) {
  const Model model = TinyModel(6);
  Model cut = CutFirst(model);
  cut.blocks[0].ffn.w_down.weight = at::full_like(cut.blocks[0].ffn.w_down.weight, NAN);
  try {
    RefitValues(model, Data(model), cut);
    FAIL() << "not refused";
  } catch (const NumericError& error) {
    EXPECT_NE(std::string(error.what()).find("block 1: w_v"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace espalier
