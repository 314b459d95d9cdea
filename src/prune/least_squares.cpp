// Affine least squares on the kept inputs. With S the covariance of the inputs, K kept and R removed columns:
//   W' = argmin E||W x - W' x_K - b'||^2 + ||(W' - W_K) (lambda I + D)^1/2||^2
//      = W_K + W_R S_RK (S_KK + lambda I + D)^-1
//   b' = b + W_R mu_R - (W' - W_K) mu_K
// The ridge pulls toward the original weights, not toward zero. S, lambda and D are those of input_system.h: S over the
// counted tokens, lambda a share of its mean diagonal, D a second ridge from the tokens that are left out. Relatives:
// OSSCAR (arXiv 2403.12983) and SlimGPT refit without the constant; the affine form and the pull are ours.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/calibrate/input_system.h"
#include "espalier/prune/compensator.h"

namespace espalier {
namespace {

using at::Tensor;

// Kept columns' complement in 0..n-1.
Tensor Complement(int64_t n, const Tensor& kept) {
  return at::ones({n}, at::kBool).index_fill(0, kept, false).nonzero().squeeze(1);
}

class LeastSquares final : public Compensator {
 public:
  explicit LeastSquares(double ridge) : ridge_(ridge) {}
  bool AddsBias() const override { return true; }
  bool NeedsProducts() const override { return true; }

  Repair Fit(const Linear& dense, const SiteStatistics& site, const std::vector<int64_t>& kept_columns) const override {
    const Moments& moments = site.counted;
    const Tensor w = dense.weight.to(at::kDouble).cpu();  // [C, n]
    const Tensor kept = at::tensor(kept_columns, at::kLong), removed = Complement(w.size(1), kept);
    const Tensor w_kept = w.index_select(1, kept), w_removed = w.index_select(1, removed);
    Tensor correction = at::zeros_like(w_kept);
    if (kept.numel() > 0) correction = Correction(w_removed, site, kept, removed);
    Tensor bias =
        w_removed.mv(moments.mean.index_select(0, removed)) - correction.mv(moments.mean.index_select(0, kept));  // [C]
    if (dense.bias.defined()) bias = bias + dense.bias.to(at::kDouble).cpu();
    return {w_kept + correction, bias};
  }

 private:
  // W_R S_RK (S_KK + lambda I + D)^-1: [C, kept]
  Tensor Correction(const Tensor& w_removed, const SiteStatistics& site, const Tensor& kept,
                    const Tensor& removed) const {
    const Tensor rows = InputSystem(site, ridge_).index_select(0, kept);       // [kept, n]
    const Tensor right = rows.index_select(1, removed).matmul(w_removed.t());  // [kept, C]
    const Tensor system = rows.index_select(1, kept);                          // [kept, kept]
    const auto [factor, info] = at::linalg_cholesky_ex(system);
    if (info.item<int>() != 0)
      throw NumericError(
          fmt::format("compensate least_squares: the covariance of {} kept inputs is not positive definite at row {}; "
                      "use more calibration tokens or a larger ridge than {}",
                      kept.numel(), info.item<int>(), ridge_));
    return at::cholesky_solve(right, factor).t();
  }

  double ridge_;
};

const bool kRegistered = Registry<Compensator>::Register(
    {"least_squares",
     "Refit the kept columns and a bias to the dense output on the counted tokens",
     "ours; without the constant: OSSCAR, arXiv 2403.12983",
     {"moments", "products"},
     {RealOption("ridge", 0.01, "Pull toward the original weights, as a share of the mean input variance").AtLeast(0)}},
    [](const Options& options) -> std::unique_ptr<Compensator> {
      return std::make_unique<LeastSquares>(options.Real("ridge"));
    });

}  // namespace
}  // namespace espalier
