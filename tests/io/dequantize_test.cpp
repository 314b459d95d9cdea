#include "espalier/io/dequantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/io/safetensors.h"

namespace espalier {
namespace {

constexpr GgmlType kTypes[] = {GgmlType::kF32,  GgmlType::kF16,  GgmlType::kBF16, GgmlType::kQ4_0,
                               GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ5_1, GgmlType::kQ8_0,
                               GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K};

// scripts/make_dequantize_fixture.py: random blocks and what gguf-py makes of them.
struct Fixture {
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

Fixture Load(GgmlType type) {
  static const SafetensorsFile file(std::filesystem::path(ESPALIER_SOURCE_DIR) /
                                    "tests/io/fixtures/dequantize.safetensors");
  const std::string name = GgmlTypeName(static_cast<int32_t>(type));
  const StoredTensor* blocks = file.Find(name + ".blocks");
  const StoredTensor* values = file.Find(name + ".values");
  Fixture fixture{std::vector<std::byte>(blocks->bytes), std::vector<float>(values->bytes / sizeof(float))};
  file.Read(*blocks, fixture.blocks);
  file.Read(*values, std::as_writable_bytes(std::span(fixture.values)));
  return fixture;
}

// Bits, not values: -0 and 0 differ.
int64_t Differences(std::span<const float> a, std::span<const float> b) {
  int64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]);
  return count;
}

TEST(Dequantize, EqualsTheReferenceToTheBitForEveryType) {
  for (const GgmlType type : kTypes) {
    const Fixture fixture = Load(type);
    ASSERT_GE(fixture.values.size(), 64U);
    std::vector<float> out(fixture.values.size(), 1e9F);
    Dequantize(type, fixture.blocks, out);
    EXPECT_EQ(Differences(out, fixture.values), 0) << GgmlTypeName(static_cast<int32_t>(type));
  }
}

TEST(Dequantize, GivesTheSameInParallel) {
  for (const GgmlType type : kTypes) {
    const Fixture fixture = Load(type);
    const size_t copies = (size_t{1} << 17) / fixture.values.size() + 1;  // above the size where threads start
    std::vector<std::byte> blocks;
    for (size_t i = 0; i < copies; ++i) blocks.insert(blocks.end(), fixture.blocks.begin(), fixture.blocks.end());
    std::vector<float> out(copies * fixture.values.size(), 1e9F);
    Dequantize(type, blocks, out);
    int64_t differences = 0;
    for (size_t i = 0; i < copies; ++i)
      differences +=
          Differences(std::span(out).subspan(i * fixture.values.size(), fixture.values.size()), fixture.values);
    EXPECT_EQ(differences, 0) << GgmlTypeName(static_cast<int32_t>(type));
  }
}

// IEEE 754 binary16: (-1)^s 2^(e-15) (1 + m/1024), e = 0: (-1)^s 2^-14 m/1024, e = 31: infinity or NaN.
TEST(Dequantize, ConvertsEveryHalf) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> out(halves.size());
  Dequantize(GgmlType::kF16, std::as_bytes(std::span(halves)), out);
  for (int i = 0; i < 65536; ++i) {
    const int exponent = i >> 10 & 31, mantissa = i & 1023;
    const float value = out[static_cast<size_t>(i)];
    if (exponent == 31 && mantissa != 0) {
      ASSERT_TRUE(std::isnan(value)) << i;
      continue;
    }
    float expected = exponent == 31  ? INFINITY
                     : exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                     : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
    if (i >= 32768) expected = -expected;
    ASSERT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(expected)) << i;
  }
}

TEST(Dequantize, MatchesABlockOfQ4_1WorkedByHand) {
  // d = 2 (0x4000), m = -1 (0xBC00), bytes 0x00, 0x11, ..., 0xFF: element j and j + 16 are both 2 j - 1.
  std::vector<uint8_t> block = {0x00, 0x40, 0x00, 0xBC};
  for (int j = 0; j < 16; ++j) block.push_back(static_cast<uint8_t>(17 * j));
  std::vector<float> out(32);
  Dequantize(GgmlType::kQ4_1, std::as_bytes(std::span(block)), out);
  for (int j = 0; j < 32; ++j) EXPECT_EQ(out[static_cast<size_t>(j)], static_cast<float>(2 * (j % 16) - 1)) << j;
}

TEST(Dequantize, TakesOnlyWholeBlocks) {
  std::vector<std::byte> bytes(20);
  std::vector<float> out(31);
  EXPECT_THROW(Dequantize(GgmlType::kQ4_1, bytes, out), InternalError);
  out.resize(32);
  bytes.resize(19);
  EXPECT_THROW(Dequantize(GgmlType::kQ4_1, bytes, out), InternalError);
}

TEST(GgmlTypes, KnowTheirBlocksAndTheNamesOfTheOthers) {
  const GgmlTypeInfo* type = FindGgmlType(14);
  ASSERT_NE(type, nullptr);
  EXPECT_EQ(type->name, "Q6_K");
  EXPECT_EQ(type->block_elements, 256);
  EXPECT_EQ(type->block_bytes, 210);
  for (const int32_t id : {-1, 4, 5, 9, 10, 11, 15, 23, 24, 31, 39, 1000}) EXPECT_EQ(FindGgmlType(id), nullptr) << id;
  EXPECT_EQ(GgmlTypeName(10), "Q2_K");
  EXPECT_EQ(GgmlTypeName(1000), "unknown");
}

}  // namespace
}  // namespace espalier
