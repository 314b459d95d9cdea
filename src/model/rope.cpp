// Rotary position embedding, Su et al. 2021, arXiv 2104.09864; half-split row order of Hugging Face.
#include <ATen/ATen.h>

#include <algorithm>
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

// YaRN, Peng et al. 2023, arXiv 2309.00071, section 3.2: pairs that turn more than beta_fast times over the original
// context keep their frequency, those under beta_slow are divided by `factor`, a linear ramp between the two.
double YarnFrequency(double frequency, int64_t pair, int64_t R, const RopeConfig& rope) {
  const auto pair_of_turns = [&](double turns) {
    return static_cast<double>(R) *
           std::log(static_cast<double>(rope.original_positions) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = pair_of_turns(rope.beta_fast), high = pair_of_turns(rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(R - 1));
  if (low == high) high += 0.001;  // no division by zero
  const double ramp = std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
  return frequency / rope.factor * ramp + frequency * (1 - ramp);
}

double Frequency(int64_t pair, int64_t R, const RopeConfig& rope) {
  const double plain = std::pow(rope.theta, -2.0 * static_cast<double>(pair) / static_cast<double>(R));
  if (rope.scaling == "linear") return plain / rope.factor;
  if (rope.scaling == "llama3") return Llama3Frequency(plain, rope);
  if (rope.scaling == "yarn") return YarnFrequency(plain, pair, R, rope);
  ESPALIER_CHECK(rope.scaling == "none", "RoPE scaling is checked when the configuration is read");
  return plain;
}

RopeTable MakeTable(const RopeConfig& rope, int64_t D, const at::Tensor& positions, at::Device device,
                    at::ScalarType dtype) {
  const at::Tensor angles =
      at::outer(positions, at::tensor(RopeFrequencies(rope, D)));  // [T, R/2], float32 as transformers
  const at::Tensor both = at::cat({angles, angles}, 1);            // [T, R]
  const auto table = [&](const at::Tensor& x) { return (x * rope.attention_factor).to(device, dtype); };
  return {table(both.cos()), table(both.sin())};
}

// Vaswani et al. 2017, arXiv 1706.03762, section 3.5, sines first: [T, C].
at::Tensor Sinusoids(int64_t C, const at::Tensor& positions) {
  const int64_t pairs = (C + 1) / 2;
  const at::Tensor frequencies = at::pow(10000.0, at::arange(pairs, at::kFloat) * (-2.0 / static_cast<double>(C)));
  const at::Tensor angles = at::outer(positions, frequencies);  // [T, pairs]
  return at::cat({angles.sin(), angles.cos()}, 1).narrow(1, 0, C);
}

}  // namespace

std::vector<float> RopeFrequencies(const RopeConfig& rope, int64_t D) {
  const int64_t R = rope.rotated > 0 ? rope.rotated : D;
  std::vector<float> frequencies;
  for (int64_t pair = 0; pair < R / 2; ++pair) frequencies.push_back(static_cast<float>(Frequency(pair, R, rope)));
  return frequencies;
}

Rope MakeRope(const ModelConfig& config, const at::Tensor& positions, at::Device device, at::ScalarType dtype) {
  const auto table = [&](const RopeConfig& rope) { return MakeTable(rope, config.D, positions, device, dtype); };
  const RopeTable full = table(config.rope);
  Rope made{full, config.windowed_rope ? table(*config.windowed_rope) : full};
  if (config.variants.gate_signal == GateSignal::kPosition)
    made.gate_signal = Sinusoids(config.C, positions).to(device, dtype).unsqueeze(0);  // [1, T, C]
  return made;
}

Rope RopeWith(const Rope& rope, const ModelConfig& config, const at::Tensor& embedded) {
  Rope made = rope;
  if (config.variants.gate_signal == GateSignal::kToken) made.gate_signal = embedded;
  return made;
}

Rope MakeRope(const ModelConfig& config, int64_t T, at::Device device, at::ScalarType dtype) {
  return MakeRope(config, at::arange(T, at::kFloat), device, dtype);
}

at::Tensor RopeTable::Rotate(const at::Tensor& x) const {
  const int64_t R = cos.size(1), D = x.size(-1);
  const at::Tensor turning = R == D ? x : x.narrow(-1, 0, R);
  const std::vector<at::Tensor> halves = turning.chunk(2, -1);
  const at::Tensor across = at::cat({-halves[1], halves[0]}, -1);  // [B, n, T, R]
  const at::Tensor turned = turning * cos + across * sin;
  return R == D ? turned : at::cat({turned, x.narrow(-1, R, D - R)}, -1);
}

}  // namespace espalier
