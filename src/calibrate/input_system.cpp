#include "espalier/calibrate/input_system.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {

at::Tensor InputSystem(const SiteStatistics& site, double ridge) {
  const Moments& moments = site.counted;
  ESPALIER_CHECK(moments.products.defined(), "least squares needs calibration with products");
  const double weight = moments.weight > 0 ? moments.weight : 1;
  at::Tensor system = moments.products.to(at::kDouble) / weight;
  if (system.numel() == 0) return system;
  const double lambda = std::max(ridge * (moments.squares.mean().item<double>() / weight), 1e-12);
  system.diagonal().add_(site.left_out.SumOfSquares() / weight).add_(lambda);
  return system;
}

}  // namespace espalier
