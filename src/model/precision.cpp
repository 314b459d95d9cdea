#include "espalier/model/precision.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/cpu/Utils.h>

#include "espalier/model/load.h"

namespace espalier {
namespace {

bool HasInstruction(const char* name) {
  static const auto capabilities = at::cpu::get_cpu_capabilities();
  const auto found = capabilities.find(name);
  return found != capabilities.end() && found->second.isBool() && found->second.toBool();
}

void SendToOneDnn(bool send) {
  at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
                                          send ? at::Float32Precision::BF16 : at::Float32Precision::IEEE);
}

// Factors with 23-bit fractions: rounding them to 8 bits would be an error of one part in a thousand.
bool ProductsAreExact() {
  constexpr int64_t n = 256;
  const at::Tensor i = at::arange(n * n, at::kDouble).view({n, n});
  const at::Tensor a = (i * 0.7548776662466927).frac().to(at::kFloat),
                   b = (i * 0.5698402909980532).frac().to(at::kFloat);
  const at::Tensor exact = a.to(at::kDouble).matmul(b.to(at::kDouble));
  return ((at::linear(a, b.t()) - exact).abs() <= exact * 1e-6).all().item<bool>();
}

}  // namespace

const std::vector<std::string>& MatmulNames() {
  static const std::vector<std::string> names = {"auto", "float32", "bfloat16"};
  return names;
}

c10::ScalarType ParseMatmul(std::string_view name, c10::Device device) {
  if (name != "auto") return ParseDtype(name);
  return !device.is_cpu() || HasInstruction("avx512_bf16") || HasInstruction("amx_bf16") ? at::kBFloat16 : at::kFloat;
}

bool UseFasterFloat32Products() {
  // "BF16" allows oneDNN to round factors; it does so only with matrix tiles (AMX), and is asked for only where not.
  SendToOneDnn(true);
  if (ProductsAreExact()) return true;
  SendToOneDnn(false);
  return false;
}

ProductsIn::ProductsIn(c10::Device device, c10::ScalarType dtype)
    : device_(device.type()),
      enabled_before_(at::autocast::is_autocast_enabled(device_)),
      dtype_before_(at::autocast::get_autocast_dtype(device_)),
      cache_before_(at::autocast::is_autocast_cache_enabled()) {
  at::autocast::set_autocast_enabled(device_, dtype != at::kFloat);
  if (dtype != at::kFloat) at::autocast::set_autocast_dtype(device_, dtype);
  at::autocast::set_autocast_cache_enabled(false);  // weights are rounded anew: none of their copies stays
}

ProductsIn::~ProductsIn() {
  at::autocast::set_autocast_enabled(device_, enabled_before_);
  at::autocast::set_autocast_dtype(device_, dtype_before_);
  at::autocast::set_autocast_cache_enabled(cache_before_);
}

}  // namespace espalier
