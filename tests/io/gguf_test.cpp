#include "espalier/io/gguf.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "espalier/core/log.h"
#include "io/hostile.h"

namespace espalier {
namespace {

using namespace hostile;  // NOLINT: the test is about these

constexpr int64_t kF32Id = 0, kQ4_0Id = 2;

std::string Open(const Gguf& file) {
  return ErrorOf<GgufFile>(file.Bytes());
}

// One tensor "a" [2, 3] F32: 24 bytes, padded to 32.
Gguf OneTensor() {
  Gguf file;
  file.tensors = {Tensor("a", {3, 2}, kF32Id, 0)};
  file.data = std::string(32, '\1');
  return file;
}

Gguf WithPair(const std::string& pair) {
  Gguf file;
  file.pairs = {pair};
  return file;
}

Gguf WithTensor(const std::string& tensor) {
  Gguf file;
  file.tensors = {tensor};
  return file;
}

std::string Prefixed(const std::string& text, std::string_view prefix, std::string_view suffix) {
  const bool fits = text.starts_with(prefix) && text.ends_with(suffix);
  return fits ? "as expected" : text;
}

TEST(GgufFile, ReadsMetadataOfEveryTypeAndTensorsInRowMajorOrder) {
  Gguf file = OneTensor();
  file.pairs = {Pair("u8", kU8, Raw(uint8_t{200})),
                Pair("i8", kI8, Raw(int8_t{-5})),
                Pair("u16", kU16, Raw(uint16_t{60000})),
                Pair("i16", kI16, Raw(int16_t{-300})),
                Pair("u32", kU32, Raw(uint32_t{4000000000U})),
                Pair("i32", kI32, Raw(int32_t{-7})),
                Pair("f32", kF32, Raw(1.5F)),
                Pair("bool", kBool, Raw(uint8_t{1})),
                Pair("text", kString, Text("h\xC3\xA9")),
                Pair("u64", kU64, Raw(~uint64_t{0})),
                Pair("i64", kI64, Raw(int64_t{-9})),
                Pair("f64", kF64, Raw(0.1)),
                Pair("texts", kArray, Array(kString, 2, Text("a") + Text(""))),
                Pair("numbers", kArray, Array(kI32, 2, Raw(int32_t{-1}) + Raw(int32_t{2}))),
                Pair("sizes", kArray, Array(kU32, 2, Raw(uint32_t{3}) + Raw(uint32_t{4}))),
                Pair("flags", kArray, Array(kBool, 2, Raw(uint8_t{1}) + Raw(uint8_t{0}))),
                Pair("empty", kArray, Array(kF64, 0, ""))};
  const TempFolder folder;
  WriteFile(folder / "x", file.Bytes());
  const GgufFile gguf(folder / "x");
  EXPECT_EQ(gguf.Int("u8"), 200);
  EXPECT_EQ(gguf.Int("i8"), -5);
  EXPECT_EQ(gguf.Int("u16"), 60000);
  EXPECT_EQ(gguf.Int("i16"), -300);
  EXPECT_EQ(gguf.Int("u32"), 4000000000);
  EXPECT_EQ(gguf.Int("i32"), -7);
  EXPECT_EQ(gguf.Int("i64"), -9);
  EXPECT_EQ(gguf.Real("f32"), 1.5);
  EXPECT_EQ(gguf.Real("f64"), 0.1);
  EXPECT_EQ(gguf.Real("i8"), -5.0);
  EXPECT_TRUE(gguf.Bool("bool"));
  EXPECT_EQ(gguf.Text("text"), "h\xC3\xA9");
  EXPECT_EQ(gguf.TextList("texts"), (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(gguf.IntList("numbers"), (std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(gguf.IntList("sizes"), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(gguf.IntList("u8"), std::vector<int64_t>{200});
  EXPECT_EQ(std::get<std::vector<bool>>(gguf.metadata().at("flags")), (std::vector<bool>{true, false}));
  EXPECT_TRUE(std::get<std::vector<double>>(gguf.metadata().at("empty")).empty());
  ASSERT_EQ(gguf.tensors().size(), 1U);
  const GgufTensor* tensor = gguf.Find("a");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->shape, (std::vector<int64_t>{2, 3}));  // ne = {3, 2}
  std::string data(tensor->bytes, '\0');
  gguf.Read(*tensor, std::as_writable_bytes(std::span(data)));
  EXPECT_EQ(data, std::string(24, '\1'));
  EXPECT_EQ(gguf.Find("b"), nullptr);
}

TEST(GgufFile, NamesTheKeyThatIsAbsentOrOfAnotherKind) {
  Gguf file;
  file.pairs = {Pair("llama.block_count", kU32, Raw(uint32_t{30})), Pair("big", kU64, Raw(~uint64_t{0})),
                Pair("bigs", kArray, Array(kU64, 1, Raw(~uint64_t{0})))};
  const TempFolder folder;
  WriteFile(folder / "x", file.Bytes());
  const GgufFile gguf(folder / "x");
  const std::string where = (folder / "x").string();
  EXPECT_EQ(MessageOf([&] { gguf.Int("llama.blok_count"); }),
            where + ": no key 'llama.blok_count' in the metadata; nearest: 'llama.block_count'");
  EXPECT_EQ(MessageOf([&] { gguf.Text("big"); }), where + ": key 'big' is an unsigned integer, expected a string");
  EXPECT_EQ(MessageOf([&] { gguf.Bool("big"); }), where + ": key 'big' is an unsigned integer, expected a boolean");
  EXPECT_EQ(MessageOf([&] { gguf.Real("bigs"); }),
            where + ": key 'bigs' is an array of unsigned integers, expected a real number");
  EXPECT_EQ(MessageOf([&] { gguf.TextList("big"); }),
            where + ": key 'big' is an unsigned integer, expected an array of strings");
  EXPECT_EQ(MessageOf([&] { gguf.Int("bigs"); }),
            where + ": key 'bigs' is an array of unsigned integers, expected an integer");
  const std::string range = " is 18446744073709551615, expected at most 9223372036854775807";
  EXPECT_EQ(MessageOf([&] { gguf.Int("big"); }), where + ": key 'big'" + range);
  EXPECT_EQ(MessageOf([&] { gguf.IntList("bigs"); }), where + ": key 'bigs'" + range);
}

TEST(GgufFile, ReadsVersionTwoAndAnAlignmentOfItsOwn) {
  Gguf file;
  file.version = 2;
  file.alignment = 64;
  file.pairs = {Pair("general.alignment", kU32, Raw(uint32_t{64}))};
  file.tensors = {Tensor("a", {1}, kF32Id, 0), Tensor("b", {1}, kF32Id, 64)};
  file.data = std::string(68, '\0');  // the last tensor's padding may be missing
  EXPECT_EQ(Open(file), "no error");
}

TEST(GgufFile, RefusesAnotherMagic) {
  Gguf file;
  file.magic = "GGML";
  EXPECT_EQ(Open(file), "x: byte 4: magic 'GGML', expected 'GGUF'; is this a GGUF file?");
  EXPECT_EQ(ErrorOf<GgufFile>("GG"), "x: byte 2: the file ends inside the magic: 1 bytes expected, 0 left");
  EXPECT_EQ(ErrorOf<GgufFile>(""), "x: byte 0: the file ends inside the magic: 1 bytes expected, 0 left");
}

TEST(GgufFile, RefusesVersionsThatAreNotTwoOrThree) {
  for (const uint32_t version : {0U, 1U, 4U, 0x10003U}) {
    Gguf file;
    file.version = version;
    EXPECT_EQ(Open(file), "x: byte 8: GGUF version " + std::to_string(version) +
                              ", expected 2 or 3; convert the model again with a current converter");
  }
}

TEST(GgufFile, SaysThatAByteSwappedFileIsBigEndian) {
  Gguf file;
  file.version = 0x03000000;
  EXPECT_EQ(Open(file),
            "x: byte 8: version 0x03000000: the file is big-endian, expected little-endian; convert it with gguf's "
            "gguf_convert_endian");
}

TEST(GgufFile, RefusesCountsOutsideTheirRange) {
  Gguf file;
  file.tensor_count = -1;
  EXPECT_EQ(Open(file), "x: byte 16: the number of tensors is -1, expected 0 to 262144");
  file.tensor_count = 262145;
  EXPECT_EQ(Open(file), "x: byte 16: the number of tensors is 262145, expected 0 to 262144");
  file.tensor_count = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(Open(file), "x: byte 16: the number of tensors is 9223372036854775807, expected 0 to 262144");
  file.tensor_count = 0;
  file.pair_count = -1;
  EXPECT_EQ(Open(file), "x: byte 24: the number of keys is -1, expected 0 to 65536");
  file.pair_count = 65537;
  EXPECT_EQ(Open(file), "x: byte 24: the number of keys is 65537, expected 0 to 65536");
}

TEST(GgufFile, RefusesCountsThatTheBytesLeftCannotHold) {
  Gguf file;
  file.tensor_count = 2;
  file.data = "x";  // 24 bytes of header, padded to 32, and one: 9 follow
  EXPECT_EQ(Open(file), "x: byte 24: the number of tensors is 2, but only 9 bytes follow and each takes 25 or more");
  file.tensor_count = 0;
  file.pair_count = 1;
  EXPECT_EQ(Open(file), "x: byte 24: the number of keys is 1, but only 9 bytes follow and each takes 14 or more");
}

TEST(GgufFile, RefusesAnEmptyKey) {
  EXPECT_EQ(Open(WithPair(Pair("", kU32, Raw(uint32_t{1})))), "x: byte 32: key 1 of 1 is empty");
}

TEST(GgufFile, RefusesADuplicateKey) {
  Gguf file;
  file.pairs = {Pair("k", kU8, Raw(uint8_t{1})), Pair("k", kU8, Raw(uint8_t{2}))};
  EXPECT_EQ(Open(file), "x: byte 47: duplicate key 'k'; one of the two would be lost");
}

TEST(GgufFile, RefusesValueTypesThatDoNotExist) {
  EXPECT_EQ(Open(WithPair(Pair("k", 13, "1"))), "x: byte 37: key 'k': value type 13, expected 0 to 12");
  EXPECT_EQ(Open(WithPair(Pair("k", -1, "1"))), "x: byte 37: key 'k': value type -1, expected 0 to 12");
  EXPECT_EQ(Open(WithPair(Pair("k", kArray, Array(13, 1, "1")))),
            "x: byte 41: key 'k': array element type 13, expected 0 to 12");
}

TEST(GgufFile, RefusesAStringLongerThanAGibibyte) {
  EXPECT_EQ(Open(WithPair(Pair("k", kString, Raw((uint64_t{1} << 30) + 1)))),
            "x: byte 45: a string of 1073741825 bytes, expected at most 1073741824");
  EXPECT_EQ(Open(WithPair(Raw(~uint64_t{0}) + "key and value")),
            "x: byte 32: a key of 18446744073709551615 bytes, expected at most 1073741824");
}

TEST(GgufFile, RefusesAStringLongerThanTheFile) {
  EXPECT_EQ(Open(WithPair(Pair("k", kString, Raw(uint64_t{6}) + "12345"))),
            "x: byte 45: a string of 6 bytes, but only 5 follow");
  EXPECT_EQ(Open(WithPair(Raw(uint64_t{1} << 30) + "key and value")),
            "x: byte 32: a key of 1073741824 bytes, but only 13 follow");
}

TEST(GgufFile, RefusesAnArrayOfMoreThanTwoToTheThirtyElements) {
  EXPECT_EQ(Open(WithPair(Pair("k", kArray, Array(kU8, (uint64_t{1} << 30) + 1, "")))),
            "x: byte 49: key 'k': array of 1073741825 elements, expected at most 1073741824");
}

TEST(GgufFile, RefusesAnArrayLongerThanTheFile) {
  EXPECT_EQ(Open(WithPair(Pair("k", kArray, Array(kU32, 2, "1234567")))),
            "x: byte 49: key 'k': array of 2 UINT32 elements, but only 7 bytes follow");
  EXPECT_EQ(Open(WithPair(Pair("k", kArray, Array(kString, uint64_t{1} << 30, "1234567")))),
            "x: byte 49: key 'k': array of 1073741824 STRING elements, but only 7 bytes follow");
}

TEST(GgufFile, RefusesNestedArrays) {
  EXPECT_EQ(Open(WithPair(Pair("k", kArray, Array(kArray, 1, Array(kU8, 1, "1"))))),
            "x: byte 49: key 'k': array of arrays, expected an array of scalars or strings");
}

TEST(GgufFile, RefusesABooleanThatIsNeitherZeroNorOne) {
  EXPECT_EQ(Open(WithPair(Pair("k", kBool, Raw(uint8_t{2})))), "x: byte 38: boolean with the value 2, expected 0 or 1");
}

TEST(GgufFile, RefusesTensorNamesThatAreEmptyOrLongerThan63Bytes) {
  EXPECT_EQ(Open(WithTensor(Tensor("", {1}, kF32Id, 0))), "x: byte 32: tensor name '' has 0 bytes, expected 1 to 63");
  const std::string name(64, 'n');
  EXPECT_EQ(Open(WithTensor(Tensor(name, {1}, kF32Id, 0))),
            "x: byte 96: tensor name '" + name + "' has 64 bytes, expected 1 to 63");
  Gguf longest = WithTensor(Tensor(name.substr(1), {1}, kF32Id, 0));
  longest.data = "1234";
  EXPECT_EQ(Open(longest), "no error");
}

TEST(GgufFile, RefusesADuplicateTensor) {
  Gguf file;
  file.tensors = {Tensor("a", {1}, kF32Id, 0), Tensor("a", {1}, kF32Id, 32)};
  EXPECT_EQ(Open(file), "x: byte 66: duplicate tensor 'a'");
}

TEST(GgufFile, RefusesMoreThanFourDimensions) {
  EXPECT_EQ(Open(WithTensor(Tensor("a", {1, 1, 1, 1, 1}, kF32Id, 0))),
            "x: byte 37: tensor 'a': 5 dimensions, expected at most 4");
}

TEST(GgufFile, RefusesANegativeDimension) {
  EXPECT_EQ(Open(WithTensor(Tensor("a", {4, -1}, kF32Id, 0))),
            "x: byte 53: tensor 'a': dimension 1 is -1, expected 0 or more");
}

TEST(GgufFile, RefusesAnElementCountThatOverflows) {
  // 2^32 * 2^32 = 2^64 wraps to 0: a tiny allocation for an exabyte shape (CVE-2026-33298).
  EXPECT_EQ(Open(WithTensor(Tensor("a", {int64_t{1} << 32, int64_t{1} << 32}, kF32Id, 0))),
            "x: byte 53: tensor 'a': shape [4294967296, 4294967296] has more elements than 64 bits count");
  // The same behind a zero, where strides would overflow.
  EXPECT_EQ(Open(WithTensor(Tensor("a", {0, int64_t{1} << 32, int64_t{1} << 32}, kF32Id, 0))),
            "x: byte 61: tensor 'a': shape [4294967296, 4294967296, 0] has more elements than 64 bits count");
}

TEST(GgufFile, RefusesAByteCountThatOverflows) {
  // 2^61 elements of 4 bytes: 2^63.
  EXPECT_EQ(Open(WithTensor(Tensor("a", {int64_t{1} << 61}, kF32Id, 0))),
            "x: byte 49: tensor 'a': shape [2305843009213693952] of F32 has more bytes than 64 bits count");
}

// Each size fits into 64 bits, their sum does not (CVE-2025-53630, CVE-2026-27940).
TEST(GgufFile, RefusesSizesWhoseSumOverflows) {
  hostile::Gguf gguf;
  for (const char* name : {"a", "b", "c", "d", "e"})
    gguf.tensors.push_back(Tensor(name, {int64_t{1} << 59}, kF32Id, gguf.tensors.size() * (uint64_t{1} << 61)));
  gguf.data = std::string(64, 'x');
  const std::string message = Open(gguf);
  EXPECT_NE(message.find("tensor 'a'"), std::string::npos) << message;
  EXPECT_NE(message.find("the file"), std::string::npos) << message;
}

// A shape that promises more than the file holds made a reader leak what lay behind it (CVE-2026-7482).
TEST(GgufFile, RefusesAShapeLargerThanItsDataByASingleElement) {
  hostile::Gguf gguf;
  gguf.tensors.push_back(Tensor("a", {17}, kF32Id, 0));
  gguf.data = std::string(64, 'x');
  EXPECT_NE(Open(gguf).find("tensor 'a'"), std::string::npos);
}

TEST(GgufFile, RefusesTensorTypesByName) {
  const std::string expected =
      ", expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K; convert the model with "
      "llama-quantize to one of them";
  EXPECT_EQ(Open(WithTensor(Tensor("a", {256}, 11, 0))), "x: byte 49: tensor 'a': type 11 (Q3_K)" + expected);
  EXPECT_EQ(Open(WithTensor(Tensor("a", {256}, 4, 0))), "x: byte 49: tensor 'a': type 4 (Q4_2 (removed))" + expected);
  EXPECT_EQ(Open(WithTensor(Tensor("a", {256}, 4711, 0))), "x: byte 49: tensor 'a': type 4711 (unknown)" + expected);
  EXPECT_EQ(Open(WithTensor(Tensor("a", {256}, -1, 0))), "x: byte 49: tensor 'a': type -1 (unknown)" + expected);
}

TEST(GgufFile, RefusesRowsThatAreNotWholeBlocks) {
  EXPECT_EQ(Open(WithTensor(Tensor("a", {48, 2}, kQ4_0Id, 0))),
            "x: byte 57: tensor 'a': rows of 48 elements, expected a multiple of the 32 of a Q4_0 block");
  EXPECT_EQ(Open(WithTensor(Tensor("a", {}, kQ4_0Id, 0))),
            "x: byte 41: tensor 'a': rows of 1 elements, expected a multiple of the 32 of a Q4_0 block");
}

TEST(GgufFile, RefusesAnOffsetThatIsNotWhereTheTensorBeforeEnds) {
  Gguf file = OneTensor();
  file.data = std::string(128, '\0');
  // "a" takes 24 bytes, padded to 32. 16 overlaps it, 64 leaves a hole, 2^64 - 1 wraps.
  for (const auto& [offset, shown] : std::vector<std::pair<uint64_t, std::string>>{
           {16, "16"}, {24, "24"}, {64, "64"}, {~uint64_t{0}, "18446744073709551615"}}) {
    file.tensors = {Tensor("a", {3, 2}, kF32Id, 0), Tensor("b", {1}, kF32Id, offset)};
    EXPECT_EQ(Open(file), "x: byte 98: tensor 'b': data at offset " + shown +
                              ", expected 32, the end of the tensor before it padded to 32 bytes");
  }
  file.tensors = {Tensor("a", {3, 2}, kF32Id, 32)};
  EXPECT_EQ(
      Open(file),
      "x: byte 65: tensor 'a': data at offset 32, expected 0, the end of the tensor before it padded to 32 bytes");
}

TEST(GgufFile, RefusesATensorThatEndsBeyondTheFile) {
  Gguf file = OneTensor();
  file.data.resize(23);  // header of 65 bytes, data from 96, 24 bytes wanted
  EXPECT_EQ(Open(file),
            "x: byte 65: tensor 'a': 24 bytes from byte 96, but the file ends at 119; the file is truncated");
  file.tensors = {Tensor("a", {int64_t{1} << 40}, kF32Id, 0)};  // four tebibytes
  EXPECT_EQ(Open(file),
            "x: byte 57: tensor 'a': 4398046511104 bytes from byte 64, but the file ends at 87; the file is truncated");
}

TEST(GgufFile, RefusesAnAlignmentThatIsNoPowerOfTwo) {
  for (const uint32_t alignment : {0U, 33U, 48U})
    EXPECT_EQ(Open(WithPair(Pair("general.alignment", kU32, Raw(alignment)))),
              "x: byte 57: general.alignment is " + std::to_string(alignment) + ", expected a power of two");
  EXPECT_EQ(Open(WithPair(Pair("general.alignment", kU64, Raw(uint64_t{32})))),
            "x: byte 53: key 'general.alignment' is a UINT64, expected UINT32");
  EXPECT_EQ(Open(WithPair(Pair("general.alignment", kString, Text("32")))),
            "x: byte 53: key 'general.alignment' is a STRING, expected UINT32");
}

TEST(GgufFile, RefusesAPartOfASplitModel) {
  Gguf file;
  file.pairs = {Pair("split.no", kU16, Raw(uint16_t{1})), Pair("split.count", kU16, Raw(uint16_t{3}))};
  EXPECT_EQ(Prefixed(Open(file), "x: byte 71: this is part 2 of a model split into 3 files",
                     "; join them with llama-gguf-split --merge"),
            "as expected");
  file.pairs = {Pair("split.tensors.count", kI32, Raw(int32_t{5}))};
  EXPECT_EQ(Open(file), "x: byte 59: split.tensors.count is 5, but the file has 0 tensors");
  file.pairs = {Pair("split.count", kString, Text("2"))};
  EXPECT_EQ(Open(file), "x: byte 56: key 'split.count' is not an integer");
}

TEST(GgufFile, ShowsHostileNamesOnOneLine) {
  EXPECT_EQ(Open(WithTensor(Tensor("a\n\x1b[2J\xff", {1, 1, 1, 1, 1}, kF32Id, 0))),
            "x: byte 43: tensor 'a\\x0a\\x1b[2J\\xff': 5 dimensions, expected at most 4");
}

TEST(GgufFile, ReadsNoHeaderBeyond128MebibytesOfAFileWithHoles) {
  // A terabyte that takes no disk space: counts "fit" the file, but not what a header may take.
  const TempFolder folder;
  WriteFile(folder / "x", WithPair(Pair("k", kString, Raw(uint64_t{1} << 29))).Bytes());
  std::filesystem::resize_file(folder / "x", uintmax_t{1} << 40);
  EXPECT_EQ(MessageOf([&] { GgufFile(folder / "x"); }),
            (folder / "x").string() + ": byte 45: a string of 536870912 bytes, but only 134217683 follow");
}

TEST(GgufFile, WarnsOfBytesAfterTheLastTensor) {
  Gguf file = OneTensor();
  file.data += "PK\3\4 another file";
  const TempFolder folder;
  WriteFile(folder / "x", file.Bytes());
  LogToFile(folder / "log");
  const GgufFile gguf(folder / "x");
  LogToFile({});
  EXPECT_NE(ReadFile(folder / "log").find("x: 25 bytes after the last tensor are not read"), std::string::npos);
}

Gguf FileOfEverything() {
  Gguf file = OneTensor();
  file.pairs = {Pair("general.alignment", kU32, Raw(uint32_t{32})), Pair("t", kString, Text("text")),
                Pair("l", kArray, Array(kString, 2, Text("a") + Text("bc"))), Pair("b", kBool, Raw(uint8_t{1}))};
  file.tensors.push_back(Tensor("b", {32, 2}, kQ4_0Id, 32));
  file.data += std::string(36, '\2');
  return file;
}

TEST(GgufFile, RefusesEveryTruncationOfAFile) {
  const std::string whole = FileOfEverything().Bytes();
  ASSERT_EQ(ErrorOf<GgufFile>(whole), "no error");
  for (size_t bytes = 0; bytes < whole.size(); ++bytes)
    EXPECT_NE(ErrorOf<GgufFile>(std::string_view(whole).substr(0, bytes)), "no error") << bytes;
}

// Opens, or throws an Error: never a crash, a bad_alloc or another exception, which would escape MessageOf. What opens
// can be read.
TEST(GgufFile, SurvivesRandomDamage) {
  const std::string whole = FileOfEverything().Bytes();
  const TempFolder folder;
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = whole;
    for (unsigned n = random() % 4 + 1; n > 0; --n) damaged[random() % damaged.size()] = static_cast<char>(random());
    std::ofstream(folder / "x", std::ios::binary) << damaged;
    MessageOf([&] {
      const GgufFile file(folder / "x");
      for (const GgufTensor& tensor : file.tensors()) {
        std::vector<std::byte> bytes(tensor.bytes);
        file.Read(tensor, bytes);
      }
    });
  }
}

}  // namespace
}  // namespace espalier
