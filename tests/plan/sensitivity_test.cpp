#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/core/error.h"
#include "espalier/model/forward.h"
#include "espalier/plan/ledger.h"
#include "espalier/plan/planner.h"
#include "espalier/prune/cut.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

double MeanLoss(const Model& model, const Tensor& ids) {
  const Tensor logits = Logits(model, ids).slice(1, 0, -1).reshape({-1, model.config.V});
  return at::cross_entropy_loss(logits, ids.slice(1, 1).reshape({-1})).item<double>();
}

std::unique_ptr<Allocator> Sensitivity(std::vector<int64_t> percent) {
  const auto& entry = Registry<Allocator>::Find("sensitivity");
  return entry.make(Options(entry.info.options, {{"percent", std::move(percent)}}, "test"));
}

PlanOptions Wish(const Model& model, const Tensor& windows, std::vector<UnitKind> kinds, double remove) {
  PlanOptions options;
  options.scorer_name = "magnitude";
  options.allocator_name = "sensitivity";
  options.kinds = std::move(kinds);
  options.remove = remove;
  options.min_kv_groups = options.min_ffn_channels = 0;
  options.windows = windows;
  options.prune = [&model](const Plan& plan) { return Cut(model, plan); };
  return options;
}

// The plan that removes the given number of channels from each block, the least by magnitude.
Plan Without(const Model& model, const std::vector<int64_t>& channels) {
  Plan plan = KeepAll(model);
  for (size_t l = 0; l < channels.size(); ++l) {
    const Tensor score = Registry<Scorer>::Create("magnitude")
                             ->Score({model, static_cast<int64_t>(l), UnitKind::kFfnChannel})
                             .mean(1)
                             .contiguous();
    const std::vector<int64_t> order = Ascending(score);
    for (int64_t i = 0; i < channels[l]; ++i)
      std::erase(plan.blocks[l].At(UnitKind::kFfnChannel).kept, order[static_cast<size_t>(i)]);
  }
  return plan;
}

TEST(SensitivityAllocator, TakesTheLevelsThatBruteForceFinds) {
  // Three blocks of 24 channels; a quarter or half of each may go, 18 in all.
  int64_t exact = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const Model model = TinyModel(seed, EvenShape(3, {4, 2, 24}));
    const Tensor ids = RandomIds(seed, 4, 16, model.config.V);
    const double dense = MeanLoss(model, ids);
    double rise[3][3];
    for (size_t l = 0; l < 3; ++l)
      for (int64_t level = 0; level < 3; ++level) {
        std::vector<int64_t> channels(3, 0);
        channels[l] = 6 * level;
        rise[l][level] = MeanLoss(Mask(model, Without(model, channels)), ids) - dense;
      }
    std::vector<int64_t> best;
    double least = 1e9;
    for (int64_t a = 0; a < 3; ++a)
      for (int64_t b = 0; b < 3; ++b)
        for (int64_t c = 0; c < 3; ++c)
          if (a + b + c >= 3 && rise[0][a] + rise[1][b] + rise[2][c] < least)
            least = rise[0][a] + rise[1][b] + rise[2][c], best = {6 * a, 6 * b, 6 * c};
    if (best[0] + best[1] + best[2] != 18) continue;  // more goes than asked for: held back by price
    ++exact;
    PlanOptions options = Wish(model, ids, {UnitKind::kFfnChannel}, 0);
    options.amount = 18 * 48;
    const Plan plan =
        MakePlan(model, nullptr, *Registry<Scorer>::Create("magnitude"), *Sensitivity({25, 50}), {}, options);
    const Plan expected = Without(model, best);
    for (size_t l = 0; l < 3; ++l)
      EXPECT_EQ(plan.blocks[l].At(UnitKind::kFfnChannel).kept, expected.blocks[l].At(UnitKind::kFfnChannel).kept)
          << seed << " " << l;
  }
  EXPECT_GE(exact, 3);
}

TEST(SensitivityAllocator, MeetsMixedBudgetsAndKeepsWhatIsProtected) {
  const Model model = TinyModel(1);
  const Tensor windows = RandomIds(1, 4, 16, model.config.V);
  const std::vector<Protection> kept = {{{0, UnitKind::kFfnChannel, 2}, "keep", ""},
                                        {{2, UnitKind::kKvGroup, 0}, "keep", ""}};
  for (const double remove : {0.0, 0.05, 0.2, 0.5, 0.7}) {
    PlanOptions options = Wish(model, windows, {UnitKind::kKvGroup, UnitKind::kFfnChannel, UnitKind::kFfn}, remove);
    options.compensation_adds_bias = true;
    const Plan plan =
        MakePlan(model, nullptr, *Registry<Scorer>::Create("magnitude"), *Sensitivity({12, 25, 50, 75}), kept, options);
    EXPECT_LE(plan.achieved_share, remove + 1e-12);
    EXPECT_GT(plan.achieved_share, remove - 384.0 / static_cast<double>(plan.dense.block_parameters));
    for (const Protection& protection : kept) EXPECT_TRUE(Keeps(plan, protection.unit));
  }
}

TEST(SensitivityAllocator, RefusesResidualChannelsAndLossesThatAreNotFinite) {
  Model model = TinyModel(1);
  const Tensor windows = RandomIds(1, 4, 16, model.config.V);
  const auto plan = [&](UnitKind kind) {
    MakePlan(model, nullptr, *Registry<Scorer>::Create("magnitude"), *Sensitivity({50}), {},
             Wish(model, windows, {kind}, 0.1));
  };
  EXPECT_NE(MessageOf([&] { plan(UnitKind::kResidualChannel); }).find("leave residual_channel out"), std::string::npos);
  model.final_norm = at::full_like(model.final_norm, std::numeric_limits<double>::quiet_NaN());
  EXPECT_THROW(plan(UnitKind::kFfnChannel), NumericError);
}

}  // namespace
}  // namespace espalier
