#include "espalier/calibrate/gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/model/forward.h"
#include "espalier/model/unit_space.h"
#include "espalier/score/scorer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// Multiplies the consumer's input columns of one unit at one token.
class Scale final : public Edit {
 public:
  Scale(int64_t block, Site site, std::vector<int64_t> columns, int64_t sequence, int64_t token, double factor)
      : block_(block), site_(site), columns_(std::move(columns)), sequence_(sequence), token_(token), factor_(factor) {}
  Tensor Replace(int64_t block, Site site, const Tensor& value) override {
    if (block != block_ || site != site_) return value;
    Tensor changed = value.clone();
    for (const int64_t column : columns_) changed[sequence_][token_][column] *= factor_;
    return changed;
  }

 private:
  int64_t block_;
  Site site_;
  std::vector<int64_t> columns_;
  int64_t sequence_, token_;
  double factor_;
};

double SumOfLosses(const Model& model, const Tensor& ids) {
  const at::NoGradGuard no_grad;
  const Tensor logits = Logits(model, ids).slice(1, 0, -1).reshape({-1, model.config.V});
  return at::cross_entropy_loss(logits, ids.slice(1, 1).reshape({-1}), {}, at::Reduction::Sum).item<double>();
}

// Central differences of the loss under a factor on the unit's output at each token, squared and summed.
double MassByDifferences(Model model, const Tensor& ids, int64_t block, UnitKind kind, int64_t unit) {
  const UnitSpace space(model, block, kind);
  const Site site = kind == UnitKind::kKvGroup ? Site::kHeadOut : Site::kFfnHidden;
  constexpr double kStep = 1e-3;
  double mass = 0;
  for (int64_t sequence = 0; sequence < ids.size(0); ++sequence)
    for (int64_t token = 0; token < ids.size(1); ++token) {
      const auto loss = [&](double factor) {
        model.edit = std::make_shared<Scale>(block, site, space.ConsumerColumns(unit), sequence, token, factor);
        return SumOfLosses(model, ids);
      };
      const double slope = (loss(1 + kStep) - loss(1 - kStep)) / (2 * kStep);
      mass += slope * slope;
    }
  return mass;
}

TEST(LossMass, IsTheSquaredSlopeOfTheLossUnderAFactorOnTheUnitForEveryFamily) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = CopyModel(TinyModel(5, shape), at::kDouble, at::kCPU);
    const Tensor ids = RandomIds(6, 2, 6, model.config.V);
    Statistics statistics;
    statistics.blocks.resize(static_cast<size_t>(model.config.L()));
    AddLossMass(model, ids, 1, statistics);
    EXPECT_EQ(statistics.gradient_tokens, 12);
    for (const int64_t block : {0, 1}) {
      const BlockStatistics& measured = statistics.blocks[static_cast<size_t>(block)];
      for (const auto& [kind, unit] : {std::pair{UnitKind::kKvGroup, 1}, {UnitKind::kFfnChannel, 7}}) {
        const double expected = MassByDifferences(model, ids, block, kind, unit);
        const double got =
            (kind == UnitKind::kKvGroup ? measured.kv_group_mass : measured.ffn_channel_mass)[unit].item<double>();
        // float32 norms and loss inside a float64 model: differences of 1e-3 steps are good to a few parts in a
        // hundred.
        EXPECT_NEAR(got / expected, 1, 0.05) << name << " block " << block << " " << UnitKindName(kind);
      }
    }
  }
}

TEST(LossMass, DoesNotDependOnTheBatchAndAddsUpWhenMerged) {
  const Model model = TinyModel(7);
  const Tensor windows = RandomIds(8, 6, 16, model.config.V);
  const auto measure = [&](const Tensor& some, int64_t batch) {
    return Calibrate(model, some, {.gradient_tokens = some.numel(), .batch = batch});
  };
  const Statistics whole = measure(windows, 6), other = measure(windows, 2);
  Statistics merged = measure(windows.narrow(0, 0, 2), 2);
  merged.Merge(measure(windows.narrow(0, 2, 4), 4));
  EXPECT_EQ(merged.gradient_tokens, whole.gradient_tokens);
  for (size_t l = 0; l < 3; ++l)
    for (const Role role : {Role::kO, Role::kDown}) {
      EXPECT_LT(RelativeDifference(other.blocks[l].LossMassOf(role), whole.blocks[l].LossMassOf(role)), 1e-4);
      EXPECT_LT(RelativeDifference(merged.blocks[l].LossMassOf(role), whole.blocks[l].LossMassOf(role)), 1e-4);
    }
}

TEST(LossMass, ComesBackFromDiskToTheBit) {
  const Model model = TinyModel(7);
  const Statistics statistics = Calibrate(model, RandomIds(8, 4, 16, model.config.V), {.gradient_tokens = 32});
  const TempFolder temp;
  SaveStatistics(statistics, temp / "s.safetensors");
  const Statistics read = LoadStatistics(temp / "s.safetensors");
  EXPECT_EQ(read.gradient_tokens, 32);
  for (size_t l = 0; l < 3; ++l) {
    EXPECT_TRUE(at::equal(read.blocks[l].kv_group_mass, statistics.blocks[l].kv_group_mass));
    EXPECT_TRUE(at::equal(read.blocks[l].ffn_channel_mass, statistics.blocks[l].ffn_channel_mass));
  }
}

TEST(Fisher, IsTheLossMassPerToken) {
  const Model model = TinyModel(7);
  const Statistics statistics = Calibrate(model, RandomIds(8, 4, 16, model.config.V), {.gradient_tokens = 64});
  const auto scorer = Registry<Scorer>::Create("fisher");
  const Tensor score = CheckedScore(*scorer, "fisher", {model, 1, UnitKind::kKvGroup, &statistics, true});
  EXPECT_TRUE(at::allclose(score.squeeze(1) * 64, statistics.blocks[1].kv_group_mass));
  EXPECT_EQ(MessageOf([&] {
              scorer->Score({TinyModel(7, {.blocks = {{4, 2, 24}, {2, 1, 20}, {2, 1, 28}}}), 1, UnitKind::kKvGroup,
                             &statistics, true});
            }),
            "fisher: block 1: loss mass of 3 units, the model has 1; calibrate this model again");
}

}  // namespace
}  // namespace espalier
