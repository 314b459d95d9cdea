#pragma once
// Sums over batches, kept on the CPU whatever the device of the pass.
#include <ATen/core/Tensor.h>

namespace espalier {

// sum += part; an undefined sum is zero.
inline void Accumulate(at::Tensor& sum, const at::Tensor& part) {
  const at::Tensor here = part.cpu();
  sum = sum.defined() ? sum + here : here;
}

}  // namespace espalier
