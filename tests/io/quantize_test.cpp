#include "espalier/io/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "espalier/io/safetensors.h"
#include "support/support.h"

namespace espalier {
namespace {

template <class T>
std::vector<T> Stored(const std::string& name) {
  static const SafetensorsFile file(std::filesystem::path(ESPALIER_SOURCE_DIR) /
                                    "tests/io/fixtures/quantize.safetensors");
  const StoredTensor* tensor = file.Find(name);
  std::vector<T> values(tensor->bytes / sizeof(T));
  file.Read(*tensor, std::as_writable_bytes(std::span(values)));
  return values;
}

std::vector<std::byte> Quantized(GgmlType type, const std::vector<float>& values) {
  const GgmlTypeInfo* info = FindGgmlType(static_cast<int32_t>(type));
  std::vector<std::byte> bytes(values.size() / static_cast<size_t>(info->block_elements) *
                               static_cast<size_t>(info->block_bytes));
  Quantize(type, values, bytes);
  return bytes;
}

TEST(Quantize, GivesTheBytesOfTheReferenceForEveryType) {
  const auto values = Stored<float>("values");
  for (const auto type : {GgmlType::kF16, GgmlType::kBF16, GgmlType::kQ8_0, GgmlType::kQ4_0}) {
    const std::string name = GgmlTypeName(static_cast<int32_t>(type));
    EXPECT_EQ(Quantized(type, values), Stored<std::byte>(name + ".blocks")) << name;
  }
}

TEST(Quantize, InParallelGivesTheBytesOfEachPart) {
  // 3 * 2^14 elements are several tasks; the fixture's 1,280 repeated.
  const auto values = Stored<float>("values");
  std::vector<float> many;
  while (many.size() < (size_t{3} << 14)) many.insert(many.end(), values.begin(), values.end());
  const auto whole = Quantized(GgmlType::kQ4_0, many), part = Quantized(GgmlType::kQ4_0, values);
  for (size_t i = 0; i < whole.size(); ++i) ASSERT_EQ(whole[i], part[i % part.size()]) << i;
}

TEST(Quantize, WorkedByHandOnOneBlockOfQ8) {
  // The largest magnitude 254 gives d = 2 (half 0x4000); 3 / 2 = 1.5 rounds away from zero to 2, -3 / 2 to -2.
  std::vector<float> values(32, 0);
  values[0] = 254, values[1] = 3, values[2] = -3;
  const auto bytes = Quantized(GgmlType::kQ8_0, values);
  EXPECT_EQ(bytes[0], std::byte{0x00});
  EXPECT_EQ(bytes[1], std::byte{0x40});
  EXPECT_EQ(static_cast<int8_t>(bytes[2]), 127);
  EXPECT_EQ(static_cast<int8_t>(bytes[3]), 2);
  EXPECT_EQ(static_cast<int8_t>(bytes[4]), -2);
}

TEST(Quantize, RefusesWhatDoesNotFitAHalf) {
  EXPECT_EQ(MessageOf([] { Quantized(GgmlType::kF16, {65520}); }),
            "65520 does not fit a half (at most 65504); export as f32 or bf16");
  EXPECT_EQ(Quantized(GgmlType::kF16, {65519}), (std::vector<std::byte>{std::byte{0xFF}, std::byte{0x7B}}));
  std::vector<float> block(32, 0);
  block[5] = 1e7F;  // scale 78,740
  EXPECT_NE(MessageOf([&] { Quantized(GgmlType::kQ8_0, block); }).find("does not fit a half"), std::string::npos);
}

TEST(Quantize, KnowsTypesByTheNamesOfLlamaQuantize) {
  for (const std::string& name : WritableGgmlTypes()) EXPECT_NO_THROW(ParseGgmlType(name));
  EXPECT_EQ(ParseGgmlType("q4_0"), GgmlType::kQ4_0);
  EXPECT_EQ(MessageOf([] { ParseGgmlType("q4_1"); }).substr(0, 26), "unknown tensor type 'q4_1'");
}

}  // namespace
}  // namespace espalier
