// Affine least squares on the kept inputs. With S the weighted covariance of the inputs, K kept and R removed columns,
// e the target's shift:
//   W' = argmin E||W x + e - W' x_K - b'||^2 + ||(W' - W_K) (lambda I + D)^1/2||^2
//      = W_K + (W_R S_RK + S_eK) (S_KK + lambda I + D)^-1
//   b' = b + W_R mu_R + mu_e - (W' - W_K) mu_K
// The ridge pulls toward the original weights, not toward zero; lambda is a share of the mean diagonal of S; D keeps
// the refit from exploding on tokens that were left out (input_system.h). With sequences held out, the share is the one
// of kRidges whose refit has the least error on them, and everything is refitted with it.
// Relatives: OSSCAR (arXiv 2403.12983) and SlimGPT refit without the constant; the affine form and the pull are ours.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <limits>

#include "espalier/calibrate/cholesky.h"
#include "espalier/calibrate/input_system.h"
#include "espalier/core/error.h"
#include "espalier/prune/compensator.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr double kRidges[] = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1};

// What a refit works with, in float64.
struct System {
  const RefitData& data;
  Tensor w_kept, w_removed, kept, removed;

  double Weight(const RefitData& of) const { return std::max(of.inputs.counted.weight, 1e-300); }
  // The part of the target that the kept columns lack, with the kept inputs: [kept, C], per unit of weight.
  Tensor Missing(const RefitData& of, const Tensor& covariance) const {
    const Tensor missing = covariance.index_select(0, kept).index_select(1, removed).matmul(w_removed.t());
    return of.shift ? missing + of.shift->products.index_select(0, kept) / Weight(of) : missing;
  }
  Tensor MissingMean(const RefitData& of) const {
    const Tensor mean = w_removed.mv(of.inputs.counted.mean.index_select(0, removed));
    return of.shift ? mean + of.shift->mean : mean;
  }
};

// W' - W_K: [C, kept].
Tensor Correction(const System& s, double ridge) {
  const Tensor covariance = InputSystem(s.data.inputs, ridge);  // its diagonal is not read between K and R
  const Tensor factor =
      CholeskyFactor(covariance.index_select(0, s.kept).index_select(1, s.kept), "compensate least_squares",
                     "kept inputs", fmt::format("use more calibration tokens or a larger ridge than {}", ridge));
  return at::cholesky_solve(s.Missing(s.data, covariance), factor).t();
}

// The error of a correction on held-out sequences, less what is the same for all of them; means are refitted.
double HeldOutError(const System& s, const RefitData& held_out, const Tensor& correction) {
  const Tensor covariance = held_out.inputs.counted.products.to(at::kDouble) / s.Weight(held_out);
  const Tensor kept = covariance.index_select(0, s.kept).index_select(1, s.kept);
  return (correction.matmul(kept).mul(correction).sum() - 2 * correction.mul(s.Missing(held_out, covariance).t()).sum())
      .item<double>();
}

class LeastSquares final : public Compensator {
 public:
  explicit LeastSquares(const Options& options) : ridge_(options.Real("ridge")) {
    if (options.Text("inputs") == "pruned")
      sequential_ = SequentialOptions{options.Real("feedback"), options.Real("held_out")};
    if (options.Int("residue") > 0) {
      if (sequential_)
        throw RecipeError(
            "prune.compensate.residue: is fitted on the dense model; expected inputs: dense, or residue: 0");
      residue_ = ResidueOptions{options.Int("residue"), ridge_, options.Int("residue_sequences")};
    }
    if (options.Real("values") > 0) values_ = ValuesOptions{options.Real("values"), options.Int("values_sequences")};
  }
  bool AddsBias() const override { return true; }
  std::optional<SequentialOptions> Sequential() const override { return sequential_; }

  std::optional<ResidueOptions> Residue() const override { return residue_; }
  std::optional<ValuesOptions> Values() const override { return values_; }

  Repair Fit(const Linear& dense, const RefitData& data, const std::vector<int64_t>& kept_columns) const override {
    const Tensor w = dense.weight.to(at::kDouble).cpu();  // [C, n]
    const Tensor kept = at::tensor(kept_columns, at::kLong);
    const Tensor removed = at::ones({w.size(1)}, at::kBool).index_fill(0, kept, false).nonzero().squeeze(1);
    const System system{data, w.index_select(1, kept), w.index_select(1, removed), kept, removed};
    Tensor correction = at::zeros_like(system.w_kept);
    if (kept.numel() > 0) correction = Correction(system, data.held_out ? ChooseRidge(system) : ridge_);
    Tensor bias = system.MissingMean(data) - correction.mv(data.inputs.counted.mean.index_select(0, kept));  // [C]
    if (dense.bias.defined()) bias = bias + dense.bias.to(at::kDouble).cpu();
    return {system.w_kept + correction, bias};
  }

 private:
  static double ChooseRidge(const System& system) {
    double best = kRidges[0], least = std::numeric_limits<double>::infinity();
    for (const double ridge : kRidges) {
      const double error = HeldOutError(system, *system.data.held_out, Correction(system, ridge));
      if (error < least) std::tie(least, best) = std::pair(error, ridge);
    }
    return best;
  }

  double ridge_;
  std::optional<SequentialOptions> sequential_;
  std::optional<ResidueOptions> residue_;
  std::optional<ValuesOptions> values_;
};

const bool kRegistered = Registry<Compensator>::Register(
    {"least_squares",
     "Refit the kept columns and a bias to the dense output on the counted tokens",
     "ours; without the constant: OSSCAR, arXiv 2403.12983",
     {"moments", "products"},
     {RealOption("ridge", kDefaultRidge, "Pull toward the original weights, as a share of the mean input variance")
          .AtLeast(0),
      TextOption("inputs", "dense",
                 "dense: the dense model's statistics, refits in seconds; pruned: block by block, on what reaches a "
                 "layer through the blocks pruned before it")
          .OneOf({"dense", "pruned"}),
      RealOption("feedback", 0, "inputs: pruned only. Share of the residual error made so far that is asked back")
          .Between(0, 1),
      RealOption("held_out", 0,
                 "inputs: pruned only. Share of the sequences on which each layer's ridge is chosen; 0: `ridge`")
          .Between(0, 0.5),
      RealOption(
          "values", 0,
          "Then refit w_v of every block to what reaches it through the pruned blocks before it, with this ridge: "
          "two passes over calibration windows, no parameter more; 0: leave it")
          .AtLeast(0),
      IntOption("values_sequences", 0, "Calibration windows that `values` passes over, evenly spread; 0: all")
          .AtLeast(0),
      IntOption(
          "residue", 0,
          "Linear channels in each FFN that loses some, in the place of its cheapest kept ones: a low-rank map of "
          "the FFN's input that gives back what the refit cannot; 0: none")
          .Between(0, 1024),
      IntOption("residue_sequences", 0, "Calibration windows that `residue` is fitted on, evenly spread; 0: all")
          .AtLeast(0)}},
    [](const Options& options) -> std::unique_ptr<Compensator> { return std::make_unique<LeastSquares>(options); });

}  // namespace
}  // namespace espalier
