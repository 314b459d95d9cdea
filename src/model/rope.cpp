// Rotary position embedding, Su et al. 2021, arXiv 2104.09864; half-split row order of Hugging Face.
#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "espalier/core/error.h"
#include "espalier/model/forward.h"

namespace espalier {
namespace {

// Llama-3.1's rule: long wavelengths are divided by `factor`, short ones kept, a linear blend in between.
double Llama3Frequency(double frequency, const RopeConfig& rope) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double positions = static_cast<double>(rope.original_positions);
  if (wavelength < positions / rope.high_frequency_factor) return frequency;
  if (wavelength > positions / rope.low_frequency_factor) return frequency / rope.factor;
  const double smooth =
      (positions / wavelength - rope.low_frequency_factor) / (rope.high_frequency_factor - rope.low_frequency_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

double Frequency(int64_t pair, int64_t D, const RopeConfig& rope) {
  const double plain = std::pow(rope.theta, -2.0 * static_cast<double>(pair) / static_cast<double>(D));
  if (rope.scaling == "linear") return plain / rope.factor;
  if (rope.scaling == "llama3") return Llama3Frequency(plain, rope);
  ESPALIER_CHECK(rope.scaling == "none", "RoPE scaling is checked when the configuration is read");
  return plain;
}

}  // namespace

Rope MakeRope(const ModelConfig& config, int64_t T, at::Device device, at::ScalarType dtype) {
  std::vector<float> frequencies;
  for (int64_t pair = 0; pair < config.D / 2; ++pair)
    frequencies.push_back(static_cast<float>(Frequency(pair, config.D, config.rope)));
  const at::Tensor angles =
      at::outer(at::arange(T, at::kFloat), at::tensor(frequencies));  // [T, D/2], float32 as transformers
  const at::Tensor both = at::cat({angles, angles}, 1);               // [T, D]
  return {both.cos().to(device, dtype), both.sin().to(device, dtype)};
}

at::Tensor Rope::Rotate(const at::Tensor& x) const {
  const std::vector<at::Tensor> halves = x.chunk(2, -1);
  const at::Tensor turned = at::cat({-halves[1], halves[0]}, -1);  // [B, n, T, D]
  return x * cos + turned * sin;
}

}  // namespace espalier
