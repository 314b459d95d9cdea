#include "espalier/calibrate/cholesky.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"

namespace espalier {

at::Tensor CholeskyFactor(const at::Tensor& matrix, const std::string& where, const std::string& what,
                          const std::string& advice) {
  const auto [factor, info] = at::linalg_cholesky_ex(matrix);
  if (info.item<int>() != 0)
    throw NumericError(fmt::format("{}: the covariance of {} {} is not positive definite at row {}; {}", where,
                                   matrix.size(0), what, info.item<int>(), advice));
  return factor;
}

}  // namespace espalier
