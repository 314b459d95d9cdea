#pragma once
// The factor of a covariance, or an error that says what to do.
#include <ATen/core/Tensor.h>

#include <string>

namespace espalier {

// Lower factor of a symmetric matrix [n, n]. NumericError "WHERE: the covariance of n WHAT is not positive definite at
// row R; ADVICE" where it has none.
at::Tensor CholeskyFactor(const at::Tensor& matrix, const std::string& where, const std::string& what,
                          const std::string& advice);

}  // namespace espalier
