// Formulas: ggml/src/ggml-quants.c. Halves and bfloat16 are rounded to nearest, ties to even.
#include "espalier/io/quantize.h"

#include <fmt/format.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr int64_t kBlock = 32;                      // elements of a Q4_0 or Q8_0 block
constexpr size_t kGrainElements = size_t{1} << 14;  // of one task
constexpr float kHalfOverflow = 65520;              // the least magnitude that rounds to infinity

struct WritableType {
  std::string_view name;
  GgmlType type;
};
constexpr WritableType kWritable[] = {{"f32", GgmlType::kF32},
                                      {"f16", GgmlType::kF16},
                                      {"bf16", GgmlType::kBF16},
                                      {"q8_0", GgmlType::kQ8_0},
                                      {"q4_0", GgmlType::kQ4_0}};

uint16_t ToHalf(float value) {
  if (!(std::fabs(value) < kHalfOverflow))
    throw NumericError(fmt::format("{} does not fit a half (at most 65504); export as f32 or bf16", value));
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFFU;
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
  if (magnitude < (113U << 23)) {  // below 2^-14: the sum with 0.5 rounds to whole subnormal steps of 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - (126U << 23));
  }
  const uint32_t rebased = magnitude - (112U << 23);
  return sign | static_cast<uint16_t>((rebased + 0xFFFU + ((rebased >> 13) & 1U)) >> 13);
}

uint16_t ToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

void Store16(uint16_t value, std::byte* out) {
  std::memcpy(out, &value, sizeof(value));
}

// d = max|x| / 127, q = round(x / d), ties away from zero.
void BlockQ8(const float* in, std::byte* out) {
  float largest = 0;
  for (int64_t j = 0; j < kBlock; ++j) largest = std::max(largest, std::fabs(in[j]));
  const float d = largest / 127, inverse = d != 0 ? 1 / d : 0;
  Store16(ToHalf(d), out);
  for (int64_t j = 0; j < kBlock; ++j)
    out[2 + j] = static_cast<std::byte>(static_cast<int8_t>(std::round(in[j] * inverse)));
}

// d = x_m / -8 with x_m the first value of largest magnitude, q = min(15, floor(x / d + 8.5)). The product is rounded
// before the sum, as in llama-quantize, whose quantisers are built for any x86-64; through double, so that no compiler
// fuses the two.
void BlockQ4(const float* in, std::byte* out) {
  float largest = 0, extreme = 0;
  for (int64_t j = 0; j < kBlock; ++j)
    if (largest < std::fabs(in[j])) largest = std::fabs(in[j]), extreme = in[j];
  const float d = extreme / -8, inverse = d != 0 ? 1 / d : 0;
  Store16(ToHalf(d), out);
  const auto level = [&](float x) {
    const auto product = static_cast<float>(static_cast<double>(x) * static_cast<double>(inverse));
    return std::min(15, static_cast<int>(static_cast<int8_t>(product + 8.5F)));
  };
  for (int64_t j = 0; j < kBlock / 2; ++j)
    out[2 + j] = static_cast<std::byte>(level(in[j]) | (level(in[j + kBlock / 2]) << 4));
}

void QuantizeRun(GgmlType type, const float* in, size_t blocks, std::byte* out) {
  for (size_t i = 0; i < blocks; ++i) {
    if (type == GgmlType::kF16) Store16(ToHalf(in[i]), out + 2 * i);
    if (type == GgmlType::kBF16) Store16(ToBfloat16(in[i]), out + 2 * i);
    if (type == GgmlType::kQ8_0) BlockQ8(in + i * kBlock, out + i * 34);
    if (type == GgmlType::kQ4_0) BlockQ4(in + i * kBlock, out + i * 18);
  }
}

}  // namespace

GgmlType ParseGgmlType(std::string_view name) {
  for (const WritableType& writable : kWritable)
    if (writable.name == name) return writable.type;
  throw RecipeError(UnknownName("tensor type", name, WritableGgmlTypes()));
}

const std::vector<std::string>& WritableGgmlTypes() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const WritableType& writable : kWritable) list.emplace_back(writable.name);
    return list;
  }();
  return names;
}

void Quantize(GgmlType type, std::span<const float> in, std::span<std::byte> out) {
  const GgmlTypeInfo* info = FindGgmlType(static_cast<int32_t>(type));
  const auto elements = static_cast<size_t>(info->block_elements), bytes = static_cast<size_t>(info->block_bytes);
  ESPALIER_CHECK(in.size() % elements == 0 && out.size() == in.size() / elements * bytes, "whole blocks");
  if (type == GgmlType::kF32) {
    if (!in.empty()) std::memcpy(out.data(), in.data(), in.size_bytes());
    return;
  }
  tbb::parallel_for(tbb::blocked_range<size_t>(0, in.size() / elements, kGrainElements / elements),
                    [&](const tbb::blocked_range<size_t>& range) {
                      QuantizeRun(type, in.data() + range.begin() * elements, range.size(),
                                  out.data() + range.begin() * bytes);
                    });
}

}  // namespace espalier
