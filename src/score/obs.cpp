// Second-order cost of removing a unit with the rest refitted (optimal brain surgeon, Hassibi and Stork 1993,
// arXiv-less: NIPS 5). With W the unit's consumer, g its columns, H = S + lambda I + D + T the quadratic form of W's
// inputs (input_system.h: that of least_squares, affine, with the ridge and the guard for left-out tokens, and a
// damping by heavy tails that only the choice of units needs), and G that of its outputs,
//   cost_g = tr(G W_g ([H^-1]_gg)^-1 W_g^T).
// metric identity: G = I, the squared error of the output, as in OSSCAR (arXiv 2403.12983) and Tyr-the-Pruner; to be
// compared within one consumer only. metric gradient: G = mean over tokens of dL/dy dL/dy^T, so that H (x) G is the
// Kronecker-factored Fisher matrix (K-FAC, arXiv 1503.05671) of LLM Surgeon (arXiv 2312.17244): half the cost estimates
// the rise of the mean loss, comparable between blocks and kinds. LLM Surgeon damps and updates all weights at once in
// shots and fits no constant; the affine form, the guard and the greedy order below are ours.
// greedy: the cheapest unit goes, H^-1 and W are downdated, and so on; the score is the running maximum of the marginal
// costs in that order, so that two units that replace each other do not both look free. OSSCAR searches on by swaps.
// Statistics: products, gradient_products. Cost: n^3 for each consumer, about a second for 1,536 channels.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <limits>

#include "espalier/calibrate/cholesky.h"
#include "espalier/calibrate/input_system.h"
#include "espalier/core/error.h"
#include "espalier/score/removal.h"
#include "espalier/score/scorer.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr double kMostCoupling = 10;  // beyond it a few tokens decide

class Obs final : public Scorer {
 public:
  explicit Obs(const Options& options)
      : gradient_(options.Text("metric") == "gradient"),
        ridge_(options.Real("ridge")),
        tail_(options.Real("tail")),
        growth_(options.Real("growth")),
        coupling_(options.Bool("coupling")),
        greedy_(options.Bool("greedy")) {}

  bool Scores(UnitKind kind) const override {
    return !Consumers(kind).empty() || (gradient_ && kind == UnitKind::kQkPair);
  }

  Tensor Score(const ScoreInput& input) const override {
    if (input.kind == UnitKind::kQkPair) return LossMass(input);
    const Block& block = input.model.blocks.at(static_cast<size_t>(input.block));
    Tensor score;
    for (const Role consumer : Consumers(input.kind)) {  // a block has two: the costs of both sublayers
      if (!block.At(consumer).defined()) continue;
      const Tensor part = ScoreAt(input, consumer);
      score = score.defined() ? score + part : part;
    }
    return score.unsqueeze(1);  // [units, 1]
  }

 private:
  // No layer can be refitted for what the softmax lost: the second-order cost is the loss mass itself, in the same
  // unit.
  static Tensor LossMass(const ScoreInput& input) {
    const Tensor& mass = SumsFor(input, "obs", &BlockStatistics::loss_mass);
    return (mass / static_cast<double>(input.statistics->gradient_tokens)).unsqueeze(1);  // [units, 1]
  }

  Tensor ScoreAt(const ScoreInput& input, Role consumer) const {
    const UnitSpace space(input.model, input.block, input.kind);
    std::vector<std::vector<int64_t>> columns;
    for (int64_t unit = 0; unit < space.size(); ++unit) columns.push_back(space.ConsumerColumns(consumer, unit));
    const SiteStatistics& site = SiteFor(input, consumer);
    const Tensor h = InputSystem(site, ridge_, tail_), p = OutputSystem(input, consumer, gradient_);  // [n, n]
    const Tensor own = site.counted.squares + site.left_out.squares + p.diagonal();
    if (const Tensor spoilt = Spoilt(own, columns); spoilt.isnan().any().item<bool>()) return spoilt;
    const Tensor factor = CholeskyFactor(h, fmt::format("score obs: block {}", input.block),
                                         fmt::format("inputs of {}", RoleName(consumer)),
                                         fmt::format("use more calibration tokens or a larger ridge than {}", ridge_));
    const RemovalSystem system{at::cholesky_inverse(factor), p};
    const Tensor coupling =
        coupling_ && gradient_ && Consumers(input.kind).size() == 1 ? Coupling(input, site, p, columns) : Tensor();
    return greedy_ ? Grown(GreedyRemovalCosts(system, columns, coupling)) : RemovalCosts(system, columns, coupling);
  }

  // What the product of two means leaves out: a unit whose inputs are large on the very tokens on which the loss cares
  // about them has a loss mass E[(sum_j x_j dL/dx_j)^2] above sum_jk E[x_j x_k] P_jk. Their quotient over the median
  // unit's, where it is above 1: [units].
  static Tensor Coupling(const ScoreInput& input, const SiteStatistics& site, const Tensor& p,
                         const std::vector<std::vector<int64_t>>& columns) {
    const Moments& moments = site.counted;
    const Tensor mean = moments.mean, second = moments.PerToken(moments.products.to(at::kDouble)) + mean.outer(mean);
    const Tensor product = second * p;  // [n, n]
    std::vector<double> predicted;
    for (const auto& unit : columns) {
      const Tensor own = at::tensor(unit, at::kLong);
      predicted.push_back(product.index_select(0, own).index_select(1, own).sum().item<double>());
    }
    const Tensor quotient = LossMass(input).squeeze(1) / at::tensor(predicted, at::kDouble);
    const double median = quotient.nanmedian().item<double>();
    return median > 0 && std::isfinite(median) ? (quotient / median).clamp(1, kMostCoupling).nan_to_num(1) : Tensor();
  }

  // The second-order cost is that of a small change; the more of a sublayer goes, the less it is one. By the order of
  // removal, from the first unit's own cost to (1 + growth) times the last one's.
  Tensor Grown(const Tensor& score) const {
    const auto units = static_cast<double>(score.size(0));
    const Tensor rank = score.argsort(/*stable=*/true, 0).argsort();
    return score * (rank.to(at::kDouble) * (growth_ / units) + 1);
  }

  // own [n]: something of each column's weights and statistics. Not a number for the units where it is none, zero for
  // the others: the algebra would spread it over all of them, and nobody could tell which one had it.
  static Tensor Spoilt(const Tensor& own, const std::vector<std::vector<int64_t>>& columns) {
    Tensor score = at::zeros({static_cast<int64_t>(columns.size())}, at::kDouble);
    if (own.isfinite().all().item<bool>()) return score;
    for (size_t unit = 0; unit < columns.size(); ++unit)
      if (!own.index_select(0, at::tensor(columns[unit], at::kLong)).isfinite().all().item<bool>())
        score[static_cast<int64_t>(unit)].fill_(std::numeric_limits<double>::quiet_NaN());
    return score;
  }

  bool gradient_;
  double ridge_;
  double tail_;
  double growth_;
  bool coupling_;
  bool greedy_;
};

const bool kRegistered = Registry<Scorer>::Register(
    {"obs",
     "Second-order cost of removing the unit with the rest of its consumer refitted",
     "Hassibi and Stork 1993; groups: OSSCAR, arXiv 2403.12983; metric: LLM Surgeon, arXiv 2312.17244; greedy is ours",
     {"moments", "products", "gradients", "gradient_products"},
     {TextOption("metric", "gradient",
                 "Weight output errors by the loss's gradients, comparable between blocks, or all alike (identity)")
          .OneOf({"gradient", "identity"}),
      RealOption("ridge", kDefaultRidge, "Added to the input covariance, as a share of its mean diagonal").AtLeast(0),
      RealOption(
          "tail", 0.1,
          "Added to each input's own variance, as a share of the root of its mean fourth power: what rare tokens "
          "do cannot be had from the other inputs")
          .AtLeast(0),
      BoolOption("coupling", true,
                 "metric: gradient only. Raise the costs of units that are active on the very tokens on which the loss "
                 "cares about them"),
      RealOption(
          "growth", 1,
          "greedy only. By how much the last unit of a block to go costs more than by its own cost, as a share of "
          "it; units in between less")
          .AtLeast(0),
      BoolOption("greedy", true, "Remove one unit at a time and refit before the next is judged")}},
    [](const Options& options) -> std::unique_ptr<Scorer> { return std::make_unique<Obs>(options); });

}  // namespace
}  // namespace espalier
