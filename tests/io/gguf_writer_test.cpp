#include "espalier/io/gguf_writer.h"

#include <gtest/gtest.h>

#include <cstring>

#include "espalier/io/gguf.h"
#include "support/support.h"

namespace espalier {
namespace {

void FillWith(std::byte value, std::span<std::byte> out) {
  std::memset(out.data(), static_cast<int>(value), out.size());
}

TEST(GgufWriter, WritesWhatTheReaderReads) {
  const TempFolder folder;
  GgufWriter writer;
  writer.AddText("general.architecture", "deci");
  writer.AddUint32("count", 4000000000);
  writer.AddFloat32("real", 0.5);
  writer.AddBool("flag", true);
  writer.AddInt32List("sizes", std::vector<int64_t>{3, 0, -2});
  writer.AddFloat32List("scores", std::vector<float>{1.5F, -2});
  writer.AddTextList("words", std::vector<std::string>{"a", "", "h\xC3\xA9"});
  writer.AddTensor("small", GgmlType::kF16, {3, 5}, [](std::span<std::byte> out) { FillWith(std::byte{1}, out); });
  writer.AddTensor("blocks", GgmlType::kQ4_0, {2, 64}, [](std::span<std::byte> out) { FillWith(std::byte{2}, out); });
  writer.Write(folder / "a.gguf");
  const GgufFile file(folder / "a.gguf");
  EXPECT_EQ(file.Text("general.architecture"), "deci");
  EXPECT_EQ(file.Int("count"), 4000000000);
  EXPECT_EQ(file.Real("real"), 0.5);
  EXPECT_TRUE(file.Bool("flag"));
  EXPECT_EQ(file.IntList("sizes"), (std::vector<int64_t>{3, 0, -2}));
  EXPECT_EQ(file.RealList("scores"), (std::vector<double>{1.5, -2}));
  EXPECT_EQ(file.TextList("words"), (std::vector<std::string>{"a", "", "h\xC3\xA9"}));
  ASSERT_EQ(file.tensors().size(), 2U);
  EXPECT_EQ(file.tensors()[0].shape, (std::vector<int64_t>{3, 5}));
  EXPECT_EQ(file.tensors()[0].bytes, 30U);
  EXPECT_EQ(file.tensors()[1].bytes, 2U * 2 * 18);  // blocks of 32 elements in 18 bytes
  EXPECT_EQ(file.tensors()[1].offset % 32, 0U);
  std::vector<std::byte> bytes(72);
  file.Read(file.tensors()[1], bytes);
  EXPECT_EQ(bytes, std::vector<std::byte>(72, std::byte{2}));
}

TEST(GgufWriter, CopiesValuesByteForByte) {
  const TempFolder folder;
  GgufWriter first;
  first.AddFloat32List("tokenizer.ggml.scores", std::vector<float>{0.1F, -1e30F});
  first.AddTextList("tokenizer.ggml.tokens", std::vector<std::string>{"x", "y"});
  first.Write(folder / "a.gguf");
  const GgufFile file(folder / "a.gguf");
  GgufWriter second;
  for (const auto& [key, value] : file.metadata()) second.AddRaw(key, file.RawValue(key));
  second.Write(folder / "b.gguf");
  EXPECT_EQ(ReadFile(folder / "a.gguf"), ReadFile(folder / "b.gguf"));
}

TEST(GgufWriter, RefusesWhatNoReaderTakes) {
  GgufWriter writer;
  writer.AddBool("a", true);
  EXPECT_EQ(MessageOf([&] { writer.AddUint32("a", 1); }), "GGUF key 'a' twice");
  EXPECT_EQ(MessageOf([&] { writer.AddUint32("b", -1); }), "GGUF key 'b': -1 does not fit 32 bits");
  const auto nothing = [](std::span<std::byte>) {};
  EXPECT_NE(MessageOf([&] { writer.AddTensor(std::string(64, 'n'), GgmlType::kF32, {1}, nothing); }).find("64 bytes"),
            std::string::npos);
  writer.AddTensor("t", GgmlType::kF32, {1}, nothing);
  EXPECT_EQ(MessageOf([&] { writer.AddTensor("t", GgmlType::kF32, {1}, nothing); }), "tensor 't' twice");
}

}  // namespace
}  // namespace espalier
