#include "espalier/calibrate/gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>

#include "espalier/calibrate/calibrate.h"
#include "espalier/model/forward.h"
#include "espalier/model/unit_space.h"
#include "espalier/plan/ledger.h"
#include "espalier/prune/cut.h"
#include "espalier/score/scorer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// Multiplies single columns of what passes some sites of one block at one token. A site's value is [B, T, n], or [B, G,
// T, D] for keys, whose columns then count through G*D.
class Scale final : public Edit {
 public:
  using Columns = std::map<Site, std::vector<int64_t>>;
  Scale(int64_t block, Columns columns, int64_t sequence, int64_t token, double factor)
      : block_(block), columns_(std::move(columns)), sequence_(sequence), token_(token), factor_(factor) {}
  Tensor Replace(int64_t block, Site site, const Tensor& value) override {
    if (block != block_ || !columns_.contains(site)) return value;
    Tensor changed = value.clone();
    const int64_t D = value.size(-1);
    for (const int64_t column : columns_.at(site))
      (site == Site::kK ? changed[sequence_][column / D][token_][column % D] : changed[sequence_][token_][column]) *=
          factor_;
    return changed;
  }

 private:
  int64_t block_;
  Columns columns_;
  int64_t sequence_, token_;
  double factor_;
};

std::vector<int64_t> Through(int64_t n) {
  std::vector<int64_t> all;
  for (int64_t i = 0; i < n; ++i) all.push_back(i);
  return all;
}

// Where a factor on a unit stands.
Scale::Columns ColumnsOf(const Model& model, int64_t block, UnitKind kind, int64_t unit) {
  const int64_t C = model.config.C, D = model.config.D;
  if (kind == UnitKind::kAttention) return {{Site::kAttnOut, Through(C)}};
  if (kind == UnitKind::kFfn) return {{Site::kFfnOut, Through(C)}};
  if (kind == UnitKind::kBlock) return {{Site::kAttnOut, Through(C)}, {Site::kFfnOut, Through(C)}};
  if (kind == UnitKind::kQkPair) {  // D = 4: pairs (0, 2) and (1, 3) of each group
    const int64_t group = unit / 2, pair = unit % 2;
    return {{Site::kK, {group * D + pair, group * D + pair + 2}}};
  }
  const UnitSpace space(model, block, kind);
  return {{space.consumer() == Role::kO ? Site::kHeadOut : Site::kFfnHidden, space.ConsumerColumns(unit)}};
}

double SumOfLosses(const Model& model, const Tensor& ids) {
  const at::NoGradGuard no_grad;
  const Tensor logits = Logits(model, ids).slice(1, 0, -1).reshape({-1, model.config.V});
  return at::cross_entropy_loss(logits, ids.slice(1, 1).reshape({-1}), {}, at::Reduction::Sum).item<double>();
}

// Central differences of the loss under a factor on the unit's output at each token, squared and summed.
double MassByDifferences(Model model, const Tensor& ids, int64_t block, UnitKind kind, int64_t unit) {
  const Scale::Columns columns = ColumnsOf(model, block, kind, unit);
  constexpr double kStep = 1e-3;
  double mass = 0;
  for (int64_t sequence = 0; sequence < ids.size(0); ++sequence)
    for (int64_t token = 0; token < ids.size(1); ++token) {
      const auto loss = [&](double factor) {
        model.edit = std::make_shared<Scale>(block, columns, sequence, token, factor);
        return SumOfLosses(model, ids);
      };
      const double slope = (loss(1 + kStep) - loss(1 - kStep)) / (2 * kStep);
      mass += slope * slope;
    }
  return mass;
}

Statistics GradientSumsOf(const Model& model, const Tensor& ids, const GradientSums& wanted) {
  Statistics statistics;
  statistics.blocks.resize(static_cast<size_t>(model.config.L()));
  Scratch scratch;
  AddGradientSums(model, ids, 1, wanted, RunForward(model, ids, 1, scratch), scratch, statistics);
  return statistics;
}

TEST(LossMass, IsTheSquaredSlopeOfTheLossUnderAFactorOnTheUnitForEveryFamily) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = CopyModel(TinyModel(5, shape), at::kDouble, at::kCPU);
    const Tensor ids = RandomIds(6, 2, 6, model.config.V);
    const Statistics statistics = GradientSumsOf(model, ids, {});
    EXPECT_EQ(statistics.gradient_tokens, 12);
    for (const UnitKindInfo& info : UnitKinds()) {
      if (info.scope == UnitScope::kModel) continue;
      const int64_t block = static_cast<int64_t>(info.kind) % 2, units = UnitSpace(model, block, info.kind).size();
      const Tensor& measured = statistics.blocks[static_cast<size_t>(block)].loss_mass.find(info.name)->second;
      ASSERT_EQ(measured.numel(), units) << info.name;
      const int64_t unit = units * 2 / 3;
      const double expected = MassByDifferences(model, ids, block, info.kind, unit);
      // float32 norms and loss inside a float64 model: differences of 1e-3 steps are good to a few parts in a hundred.
      EXPECT_NEAR(measured[unit].item<double>() / expected, 1, 0.05) << name << " block " << block << " " << info.name;
    }
  }
}

// Six heads in three groups: heads 1 and 3 go, so that groups 0 and 1 have one head and group 2 two; so do value
// channel 2 of group 0 and the first rotary pair of group 1.
Model Ragged() {
  const Model model = TinyModel(5, {.blocks = {{6, 3, 8}, {6, 3, 8}}});
  Plan plan = KeepAll(model, {UnitKind::kQueryHead, UnitKind::kValueChannel, UnitKind::kQkPair});
  for (BlockPlan& block : plan.blocks) {
    std::erase_if(block.At(UnitKind::kQueryHead).kept, [](int64_t head) { return head == 1 || head == 3; });
    std::erase(block.At(UnitKind::kValueChannel).kept, 2);
    std::erase(block.At(UnitKind::kQkPair).kept, 2);
  }
  return CopyModel(Cut(model, plan), at::kDouble, at::kCPU);
}

TEST(LossTargets, AreDrawnWithTheProbabilitiesOfTheModelWhateverTheBatch) {
  const Model model = TinyModel(5);
  const at::NoGradGuard no_grad;
  const Tensor one = RandomIds(6, 1, 3, model.config.V), ids = one.expand({4000, 3}).contiguous();
  const Rope rope = MakeRope(model.config, 3, at::kCPU, at::kFloat);
  const Tensor output = BlockInputs(model, ids, rope).back();
  const TargetRule rule{LossTargets::kDrawn, 9};
  const Tensor drawn = TargetsOf(rule, model, output, ids, 0);
  ASSERT_EQ(drawn.sizes(), (std::vector<int64_t>{4000, 2}));
  const Tensor probabilities = Logits(model, one).softmax(-1);
  for (int64_t t = 0; t < 2; ++t) {
    const Tensor share = at::bincount(drawn.select(1, t), {}, model.config.V).to(at::kDouble) / 4000;
    EXPECT_LT((share - probabilities[0][t]).abs().max().item<double>(), 0.03);  // four standard errors of 0.5
  }
  EXPECT_TRUE(
      at::equal(TargetsOf(rule, model, output.narrow(0, 10, 5), ids.narrow(0, 10, 5), 10), drawn.narrow(0, 10, 5)));
  EXPECT_FALSE(at::equal(TargetsOf({LossTargets::kDrawn, 10}, model, output, ids, 0), drawn));
  EXPECT_TRUE(at::equal(TargetsOf({}, model, output, ids, 0), ids.slice(1, 1)));
}

// sum over the vocabulary of p (e_v - p) (e_v - p)^T is the Fisher matrix of the logits: the mean of g g^T over draws.
TEST(GradientProducts, OfDrawnTargetsAreTheTrueFisherInformation) {
  constexpr int64_t kDraws = 50000;
  const Model model = CopyModel(TinyModel(5, {.blocks = {{4, 2, 8}}}), at::kDouble, at::kCPU);
  const Tensor one = RandomIds(6, 1, 2, model.config.V), ids = one.expand({kDraws, 2}).contiguous();
  Statistics statistics;
  statistics.blocks.resize(1);
  Scratch scratch;
  AddGradientSums(model, ids, kDraws, {.masses = false, .products = true, .rule = {LossTargets::kDrawn, 4}},
                  RunForward(model, ids, kDraws, scratch), scratch, statistics);
  const Tensor& measured = statistics.blocks[0].gradient_products.at("w_down");
  const at::NoGradGuard no_grad;
  const Rope rope = MakeRope(model.config, 2, at::kCPU, at::kDouble);
  const Tensor output = BlockInputs(model, one, rope).back(), probabilities = Logits(model, one)[0][0].softmax(0);
  Tensor expected = at::zeros_like(measured);
  for (int64_t v = 0; v < model.config.V; ++v) {
    const Tensor gradient = OutputGradient(model, output, at::full({1, 1}, v, at::kLong))[0][0].to(at::kFloat);
    expected += probabilities[v].item<float>() * at::outer(gradient, gradient);
  }
  EXPECT_LT(RelativeDifference(measured / kDraws, expected), 0.05);
}

TEST(LossMass, OfHeadsOfUnevenGroupsAndWidthsIsTheSquaredSlopeOfEachUnit) {
  const Model model = Ragged();
  const BlockConfig& sizes = model.config.blocks[1];
  ASSERT_EQ(sizes.kv_of_head, (std::vector<int64_t>{0, 1, 2, 2}));
  ASSERT_TRUE(sizes.Ragged());
  const Tensor ids = RandomIds(6, 2, 5, model.config.V);
  const Statistics statistics = GradientSumsOf(model, ids, {});
  for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kQueryHead, UnitKind::kValueChannel, UnitKind::kAttention})
    for (int64_t unit = 0; unit < UnitSpace(model, 1, kind).size(); ++unit) {
      const Tensor& measured = statistics.blocks[1].loss_mass.find(UnitKindName(kind))->second;
      EXPECT_NEAR(measured[unit].item<double>() / MassByDifferences(model, ids, 1, kind, unit), 1, 0.05)
          << UnitKindName(kind) << " " << unit;
    }
}

TEST(LossMass, DoesNotDependOnTheBatchAndAddsUpWhenMerged) {
  const Model model = TinyModel(7);
  const Tensor windows = RandomIds(8, 6, 16, model.config.V);
  const auto measure = [&](const Tensor& some, int64_t batch) {
    return Calibrate(model, some,
                     {.gradients = true, .gradient_products = true, .gradient_tokens = some.numel(), .batch = batch});
  };
  const Statistics whole = measure(windows, 6), other = measure(windows, 2);
  Statistics merged = measure(windows.narrow(0, 0, 2), 2);
  merged.Merge(measure(windows.narrow(0, 2, 4), 4));
  EXPECT_EQ(merged.gradient_tokens, whole.gradient_tokens);
  for (size_t l = 0; l < 3; ++l)
    for (const auto group : {&BlockStatistics::loss_mass, &BlockStatistics::gradient_products}) {
      EXPECT_GE((whole.blocks[l].*group).size(), 2u);
      for (const auto& [key, sums] : whole.blocks[l].*group) {
        EXPECT_LT(RelativeDifference((other.blocks[l].*group).at(key), sums), 1e-4) << key;
        EXPECT_LT(RelativeDifference((merged.blocks[l].*group).at(key), sums), 1e-4) << key;
      }
    }
}

TEST(LossMass, ComesBackFromDiskToTheBit) {
  const Model model = TinyModel(7);
  const Statistics statistics =
      Calibrate(model, RandomIds(8, 4, 16, model.config.V),
                {.gradients = true, .gradient_products = true, .weight_gradients = true, .gradient_tokens = 32});
  const TempFolder temp;
  SaveStatistics(statistics, temp / "s.safetensors");
  const Statistics read = LoadStatistics(temp / "s.safetensors");
  EXPECT_EQ(read.gradient_tokens, 32);
  for (size_t l = 0; l < 3; ++l) {
    EXPECT_EQ(read.blocks[l].loss_mass.size(), statistics.blocks[l].loss_mass.size());
    for (const auto group : {&BlockStatistics::loss_mass, &BlockStatistics::taylor})
      for (const auto& [key, sums] : statistics.blocks[l].*group)
        EXPECT_TRUE(at::equal((read.blocks[l].*group).at(key), sums)) << key;
    for (const auto& [key, sums] : statistics.blocks[l].gradient_products)
      EXPECT_LT(RelativeDifference(read.blocks[l].gradient_products.at(key), sums), 1e-7) << key;  // float32 on disk
  }
}

TEST(GradientProducts, OfTheLastBlockAreTheSlopesUnderABiasForEveryFamily) {
  // Two tokens, one loss: what the last block adds to the second token is never read, so that G = g g^T with g the
  // slope of the loss under a bias of the consumer, in front of a post-norm if there is one.
  for (const auto& [name, shape] : FamilyShapes())
    for (const Role consumer : {Role::kO, Role::kDown}) {
      Model model = CopyModel(TinyModel(5, shape), at::kDouble, at::kCPU);
      const Tensor ids = RandomIds(6, 1, 2, model.config.V);
      const size_t last = model.blocks.size() - 1;
      Linear& linear = model.blocks[last].At(consumer);
      if (!linear.bias.defined()) linear.bias = at::zeros({model.config.C}, at::kDouble);
      const Tensor bias = linear.bias;
      const Tensor measured = GradientSumsOf(model, ids, {.masses = false, .products = true})
                                  .blocks[last]
                                  .gradient_products.find(RoleName(consumer))
                                  ->second;
      Tensor slope = at::empty({model.config.C}, at::kDouble);
      constexpr double kStep = 1e-3;
      for (int64_t channel = 0; channel < model.config.C; ++channel) {
        const auto loss = [&](double step) {
          linear.bias = bias.clone();
          linear.bias[channel] += step;
          return SumOfLosses(model, ids);
        };
        slope[channel] = (loss(kStep) - loss(-kStep)) / (2 * kStep);
      }
      EXPECT_LT(RelativeDifference(measured, slope.outer(slope)), 0.05) << name << " " << RoleName(consumer);
    }
}

// Adds to one channel at one token.
class Push final : public Edit {
 public:
  Push(int64_t block, Site site, int64_t sequence, int64_t token, int64_t channel, double step)
      : block_(block), site_(site), place_{sequence, token, channel}, step_(step) {}
  Tensor Replace(int64_t block, Site site, const Tensor& value) override {
    if (block != block_ || site != site_) return value;
    Tensor changed = value.clone();
    changed[place_[0]][place_[1]][place_[2]] += step_;
    return changed;
  }

 private:
  int64_t block_;
  Site site_;
  int64_t place_[3];
  double step_;
};

TEST(GradientProducts, SumTheSlopesOfEveryToken) {
  Model model = CopyModel(TinyModel(5), at::kDouble, at::kCPU);
  const Tensor ids = RandomIds(6, 2, 4, model.config.V);
  const Statistics statistics = GradientSumsOf(model, ids, {.masses = false, .products = true});
  for (const auto& [consumer, site] : {std::pair{"w_o", Site::kAttnOut}, {"w_down", Site::kFfnOut}}) {
    Tensor expected = at::zeros({model.config.C, model.config.C}, at::kDouble);
    constexpr double kStep = 1e-3;
    for (int64_t sequence = 0; sequence < 2; ++sequence)
      for (int64_t token = 0; token < 4; ++token) {
        Tensor slope = at::empty({model.config.C}, at::kDouble);
        for (int64_t channel = 0; channel < model.config.C; ++channel) {
          const auto loss = [&](double step) {
            model.edit = std::make_shared<Push>(1, site, sequence, token, channel, step);
            return SumOfLosses(model, ids);
          };
          slope[channel] = (loss(kStep) - loss(-kStep)) / (2 * kStep);
        }
        expected += slope.outer(slope);
      }
    EXPECT_LT(RelativeDifference(statistics.blocks[1].gradient_products.at(consumer), expected), 0.05) << consumer;
  }
}

TEST(Fisher, IsTheLossMassPerToken) {
  const Model model = TinyModel(7);
  const Statistics statistics =
      Calibrate(model, RandomIds(8, 4, 16, model.config.V), {.gradients = true, .gradient_tokens = 64});
  const auto scorer = Registry<Scorer>::Create("fisher");
  const Tensor score = CheckedScore(*scorer, "fisher", {model, 1, UnitKind::kKvGroup, &statistics});
  EXPECT_TRUE(at::allclose(score.squeeze(1) * 64, statistics.blocks[1].loss_mass.at("kv_group")));
  EXPECT_EQ(MessageOf([&] {
              scorer->Score(
                  {TinyModel(7, {.blocks = {{4, 2, 24}, {2, 1, 20}, {2, 1, 28}}}), 1, UnitKind::kKvGroup, &statistics});
            }),
            "fisher: block 1: statistics of 3 kv_group units, the model has 1; calibrate this model again");
}

}  // namespace
}  // namespace espalier
