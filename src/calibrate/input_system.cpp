#include "espalier/calibrate/input_system.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {

at::Tensor InputSystem(const SiteStatistics& site, double ridge, double tail) {
  const Moments& moments = site.counted;
  ESPALIER_CHECK(moments.products.defined(), "least squares needs calibration with products");
  at::Tensor system = moments.PerToken(moments.products.to(at::kDouble));
  if (system.numel() == 0) return system;
  const double lambda = std::max(ridge * moments.Variance().mean().item<double>(), 1e-12);
  system.diagonal()
      .add_(moments.PerToken(site.left_out.SumOfSquares()))
      .add_(moments.PerToken(moments.fourth_powers).sqrt(), tail)
      .add_(lambda);
  return system;
}

}  // namespace espalier
