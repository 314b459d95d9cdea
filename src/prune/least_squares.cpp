// Affine least squares on the kept inputs. With S the covariance of the inputs, K kept and R removed columns:
//   W' = argmin E||W x - W' x_K - b'||^2 + ||(W' - W_K) (lambda I + D)^1/2||^2
//      = W_K + W_R S_RK (S_KK + lambda I + D)^-1
//   b' = b + W_R mu_R - (W' - W_K) mu_K
// The ridge pulls toward the original weights, not toward zero; lambda is a share of the mean diagonal of S.
// S is over ordinary tokens. Spike and sink tokens enter as a second ridge, column by column: D_j = their sum of x_j^2
// over the number of ordinary tokens. A column that is quiet except on a spike would else get a large coefficient that
// costs nothing on ordinary tokens and explodes on the spike: on SmolLM2-135M that alone turned perplexity 33 into
// 1,200. Relatives: OSSCAR (arXiv 2403.12983) and SlimGPT refit without the constant; the affine form and the pull are
// ours.
#include <ATen/ATen.h>
#include <fmt/format.h>

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
    const Moments& moments = site.ordinary;
    ESPALIER_CHECK(moments.products.defined(), "least squares needs calibration with products");
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
    const Moments& moments = site.ordinary;
    const auto tokens = static_cast<double>(std::max<int64_t>(moments.count, 1));
    const Tensor s = moments.products.index_select(0, kept).to(at::kDouble) / tokens;  // [kept, n]
    Tensor system = s.index_select(1, kept).contiguous();
    const double lambda = ridge_ * (moments.squares.mean().item<double>() / tokens);
    system.diagonal().add_(site.outlier.SumOfSquares().index_select(0, kept) / tokens).add_(std::max(lambda, 1e-12));
    const Tensor right = s.index_select(1, removed).matmul(w_removed.t());  // [kept, C]
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
     "Refit the kept columns and a bias to the dense output on ordinary tokens",
     "ours; without the constant: OSSCAR, arXiv 2403.12983",
     {"moments", "products"},
     {RealOption("ridge", 0.01, "Pull toward the original weights, as a share of the mean input variance").AtLeast(0)}},
    [](const Options& options) -> std::unique_ptr<Compensator> {
      return std::make_unique<LeastSquares>(options.Real("ridge"));
    });

}  // namespace
}  // namespace espalier
