#pragma once
// What matrix products of float32 tensors are computed in.
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <string>
#include <string_view>
#include <vector>

namespace espalier {

// How options name what products are computed in: auto, or a dtype.
const std::vector<std::string>& MatmulNames();
// auto: bfloat16 where `device` has instructions for it (avx512_bf16 or AMX of a CPU, every other device), else
// float32; without them a CPU is several times slower than in float32. RecipeError for a name that is not one of
// MatmulNames().
c10::ScalarType ParseMatmul(std::string_view name, c10::Device device);

// Sends float32 products on the CPU to the library whose kernels are faster, where its results are float32's too: a
// product with known values decides, once. Whether it did. On an EPYC with AVX-512 they run 1.3 times as fast.
bool UseFasterFloat32Products();

// While it lives, products on `device` take their factors rounded to `dtype`, sum in float32 and round the result to
// `dtype`; norms, softmax and the residual stream stay float32 (PyTorch's autocast). With float32 factors stay as they
// are, inside the life of another one too.
class ProductsIn {
 public:
  ProductsIn(c10::Device device, c10::ScalarType dtype);
  ~ProductsIn();
  ProductsIn(const ProductsIn&) = delete;
  ProductsIn& operator=(const ProductsIn&) = delete;

 private:
  c10::DeviceType device_;
  bool enabled_before_;
  c10::ScalarType dtype_before_;
  bool cache_before_;
};

}  // namespace espalier
