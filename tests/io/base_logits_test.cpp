#include "espalier/io/base_logits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "espalier/core/error.h"
#include "support/support.h"

namespace espalier {
namespace {

constexpr BaseLogitsShape kShape{4, 3, 2};  // positions 2 of each chunk are scored: one row a chunk

std::string Bytes(const std::filesystem::path& path) {
  return ReadFile(path);
}

std::filesystem::path Written(const TempFolder& folder) {
  const std::vector<int32_t> tokens = {0, 1, 2, 0, 1, 1, 2, 2};
  BaseLogitsWriter writer(folder / "base.kld", kShape, tokens);
  writer.Add(std::vector<float>{-0.5F, -1.5F, -40});
  writer.Add(std::vector<float>{-2, -1, -3});
  writer.Commit();
  return folder / "base.kld";
}

// Bytes 0..7 magic, 8..19 sizes, 20..51 tokens, then rows of 2 float32 and 4 uint16 (3, made even): 16 bytes.
TEST(BaseLogits, HaveTheBytesThatTheFormatSays) {
  const TempFolder folder;
  const std::string bytes = Bytes(Written(folder));
  ASSERT_EQ(bytes.size(), 20u + 32 + 2 * 16);
  EXPECT_EQ(bytes.substr(0, 8), "_logits_");
  std::array<int32_t, 3> sizes{};
  std::memcpy(sizes.data(), bytes.data() + 8, 12);
  EXPECT_EQ(sizes, (std::array<int32_t, 3>{4, 3, 2}));
  std::array<float, 2> head{};
  std::memcpy(head.data(), bytes.data() + 52, 8);
  EXPECT_EQ(head[0], 16.0F / 65535);  // the range is cut to 16 nats
  EXPECT_EQ(head[1], -16.5F);
  std::array<uint16_t, 4> steps{};
  std::memcpy(steps.data(), bytes.data() + 60, 8);
  EXPECT_EQ(steps, (std::array<uint16_t, 4>{65535, 61439, 0, 0}));  // 65535 * 15 / 16 = 61439.06
}

TEST(BaseLogits, ReadBackWithinHalfAStep) {
  const TempFolder folder;
  const BaseLogitsFile file(Written(folder));
  EXPECT_EQ(file.shape().RowsOfChunk(), 1);
  EXPECT_EQ(file.tokens(), (std::vector<int32_t>{0, 1, 2, 0, 1, 1, 2, 2}));
  std::vector<float> row(3);
  file.Read(1, 0, row);
  EXPECT_NEAR(row[0], -2, 2 / 65535.0);
  EXPECT_NEAR(row[1], -1, 2 / 65535.0);
  EXPECT_NEAR(row[2], -3, 1e-6);
  file.Read(0, 0, row);
  EXPECT_NEAR(row[2], -16.5, 1e-6);
}

TEST(BaseLogits, SayWhatIsWrongWithAFile) {
  const TempFolder folder;
  const std::string whole = Bytes(Written(folder));
  const auto message = [&](const std::string& bytes) {
    WriteFile(folder / "x.kld", bytes);
    std::string text = MessageOf([&] { BaseLogitsFile(folder / "x.kld"); });
    return text.substr(text.find(": ") + 2);
  };
  EXPECT_EQ(message("short"), "5 bytes, expected a base file of llama-perplexity (_logits_)");
  EXPECT_EQ(message("GGUF" + whole.substr(4)),
            "another format, expected a base file of llama-perplexity, which starts with _logits_");
  EXPECT_EQ(message(whole.substr(0, whole.size() - 1)),
            "83 bytes, expected 84 for 2 chunks of 4 tokens and a vocabulary of 3");
  std::string huge = whole;
  huge[11] = 0x7f;
  EXPECT_NE(message(huge).find("expected sizes of a text"), std::string::npos);
  std::string token = whole;
  token[20] = 9;
  EXPECT_EQ(message(token), "token 9, expected 0 to 2");
}

TEST(BaseLogits, LeaveNothingBehindWithoutACommit) {
  const TempFolder folder;
  {
    BaseLogitsWriter writer(folder / "base.kld", kShape, std::vector<int32_t>(8, 0));
    writer.Add(std::vector<float>{-1, -1, -1});
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "base.kld"));
}

}  // namespace
}  // namespace espalier
