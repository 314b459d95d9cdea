#include "espalier/io/safetensors.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "io/hostile.h"

namespace espalier {
namespace {

using hostile::ErrorOf;
using hostile::Raw;
using hostile::Safetensors;

std::filesystem::path Fixture(const std::string& name) {
  return std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/fixtures" / name;
}

std::string Open(std::string_view header, std::string_view data) {
  return ErrorOf<SafetensorsFile>(Safetensors(header, data));
}

// An entry: F32 by default.
std::string Entry(const std::string& name, const std::string& shape, const std::string& offsets,
                  const std::string& dtype = "F32") {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string Header(const std::string& entries) {
  return "{" + entries + "}";
}

TEST(SafetensorsFile, ReadsEntriesByOffsetWithScalarsAndEmptyTensors) {
  const TempFolder folder;
  // Written out of order; "e" and "f" are empty and sit between the others.
  const std::string header = Header(Entry("b", "[]", "[8,12]") + "," + Entry("f", "[3,0]", "[8,8]") + "," +
                                    Entry("a", "[2,2]", "[0,8]", "BF16") + "," + Entry("e", "[0]", "[12,12]") +
                                    R"(,"__metadata__":{"format":"pt"})");
  WriteFile(folder / "x", Safetensors(header, "12345678abcd"));
  const SafetensorsFile file(folder / "x");
  ASSERT_EQ(file.tensors().size(), 4U);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.tensors()[1].name, "f");
  EXPECT_EQ(file.tensors()[2].name, "b");
  EXPECT_EQ(file.tensors()[3].name, "e");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  const StoredTensor* b = file.Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_TRUE(b->shape.empty());
  EXPECT_EQ(b->offset, 8 + header.size() + 8);
  std::string data(4, '\0');
  file.Read(*b, std::as_writable_bytes(std::span(data)));
  EXPECT_EQ(data, "abcd");
  EXPECT_EQ(file.Find("c"), nullptr);
}

TEST(SafetensorsFile, RefusesAFileWithoutAHeaderLength) {
  EXPECT_EQ(ErrorOf<SafetensorsFile>("1234567"),
            "x: 7 bytes, expected at least the 8 of a header length; the file is truncated");
  EXPECT_EQ(ErrorOf<SafetensorsFile>(""),
            "x: 0 bytes, expected at least the 8 of a header length; the file is truncated");
}

TEST(SafetensorsFile, RefusesAHeaderOfMoreThanAHundredMillionBytes) {
  EXPECT_EQ(ErrorOf<SafetensorsFile>(Raw(uint64_t{100'000'001}) + "{}"),
            "x: byte 0: header of 100000001 bytes, expected at most 100000000; is this a safetensors file?");
  EXPECT_EQ(ErrorOf<SafetensorsFile>(Raw(~uint64_t{0}) + "{}"),
            "x: byte 0: header of 18446744073709551615 bytes, expected at most 100000000; is this a safetensors file?");
}

TEST(SafetensorsFile, RefusesAHeaderLongerThanTheFile) {
  EXPECT_EQ(ErrorOf<SafetensorsFile>(Raw(uint64_t{3}) + "{}"),
            "x: byte 0: header of 3 bytes, but only 2 follow; the file is truncated");
  EXPECT_EQ(ErrorOf<SafetensorsFile>(Raw(uint64_t{100'000'000}) + "{}"),
            "x: byte 0: header of 100000000 bytes, but only 2 follow; the file is truncated");
}

TEST(SafetensorsFile, RefusesAHeaderThatIsNotUtf8) {
  EXPECT_EQ(Open("{\"\xff\":1}", ""), "x: not valid JSON in UTF-8 at byte 3 of the header");
  EXPECT_EQ(Open("{\"\xc0\xaf\":1}", ""), "x: not valid JSON in UTF-8 at byte 3 of the header");      // overlong
  EXPECT_EQ(Open("{\"\xed\xa0\x80\":1}", ""), "x: not valid JSON in UTF-8 at byte 4 of the header");  // a surrogate
}

TEST(SafetensorsFile, RefusesAHeaderThatIsNotJson) {
  EXPECT_EQ(Open(R"({"a":)", ""), "x: not valid JSON in UTF-8 at byte 6 of the header");
  EXPECT_EQ(Open("{,}", ""), "x: not valid JSON in UTF-8 at byte 2 of the header");
  EXPECT_EQ(Open("{} x", ""), "x: not valid JSON in UTF-8 at byte 4 of the header");
  EXPECT_EQ(Open(std::string_view("{}\0x", 4), ""), "x: not valid JSON in UTF-8 at byte 3 of the header");
}

TEST(SafetensorsFile, RefusesAHeaderThatIsNoObject) {
  for (const std::string_view header : {"", "   ", "[]", "1", "\xEF\xBB\xBF{}"})
    EXPECT_EQ(Open(header, ""), "x: the header does not start with '{'; is this a safetensors file?") << header;
}

TEST(SafetensorsFile, TakesWhiteSpaceAroundTheHeader) {
  EXPECT_EQ(Open(" \n{}   ", ""), "no error");
}

TEST(SafetensorsFile, RefusesADuplicateEntry) {
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[0,4]") + "," + Entry("a", "[1]", "[4,8]")), "12345678"),
            "x: duplicate entry 'a'; one of the two would be lost");
  // The same name, written with an escape.
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[0,4]") + "," + Entry("\\u0061", "[1]", "[4,8]")), "12345678"),
            "x: duplicate entry 'a'; one of the two would be lost");
  EXPECT_EQ(Open(R"({"__metadata__":{},"__metadata__":{}})", ""),
            "x: duplicate entry '__metadata__'; one of the two would be lost");
}

TEST(SafetensorsFile, RefusesADuplicateKeyInAnEntryOrInTheMetadata) {
  EXPECT_EQ(Open(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234"),
            "x: entry 'a': duplicate key dtype");
  EXPECT_EQ(Open(R"({"__metadata__":{"k":"1","k":"2"}})", ""), "x: __metadata__: duplicate key 'k'");
}

TEST(SafetensorsFile, RefusesAnEntryWithoutOneOfItsKeys) {
  EXPECT_EQ(Open(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", "1234"), "x: entry 'a': no dtype");
  EXPECT_EQ(Open(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "1234"), "x: entry 'a': no shape");
  EXPECT_EQ(Open(R"({"a":{"dtype":"F32","shape":[1]}})", "1234"), "x: entry 'a': no data_offsets");
  EXPECT_EQ(Open(R"({"a":{}})", ""), "x: entry 'a': no dtype");
}

TEST(SafetensorsFile, RefusesAnUnknownKeyInAnEntry) {
  EXPECT_EQ(Open(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]}})", "1234"),
            "x: entry 'a': unknown key 'strides', expected dtype, shape, data_offsets");
}

TEST(SafetensorsFile, RefusesValuesOfAnotherKind) {
  EXPECT_EQ(Open(R"({"a":1})", ""), "x: entry 'a': found the number 1, expected an object");
  EXPECT_EQ(Open(R"({"a":null})", ""), "x: entry 'a': found null, expected an object");
  EXPECT_EQ(Open(R"({"a":[]})", ""), "x: entry 'a': found an array, expected an object");
  EXPECT_EQ(Open(R"({"a":{"dtype":1}})", ""), "x: entry 'a': dtype: found the number 1, expected a string");
  EXPECT_EQ(Open(R"({"a":{"dtype":{}}})", ""), "x: entry 'a': dtype: found an object, expected a string");
  EXPECT_EQ(Open(R"({"a":{"shape":"x"}})", ""),
            "x: entry 'a': shape: found the string 'x', expected an array of whole numbers");
  EXPECT_EQ(Open(R"({"a":{"shape":true}})", ""),
            "x: entry 'a': shape: found a boolean, expected an array of whole numbers");
  EXPECT_EQ(Open(R"({"__metadata__":1})", ""), "x: __metadata__: found the number 1, expected an object");
  EXPECT_EQ(Open(R"({"__metadata__":{"k":1}})", ""), "x: __metadata__ key 'k': found the number 1, expected a string");
  EXPECT_EQ(Open(R"({"__metadata__":{"k":{"l":"m"}}})", ""),
            "x: __metadata__ key 'k': found an object, expected a string");
}

TEST(SafetensorsFile, RefusesNestingBeyondTheFormat) {
  EXPECT_EQ(Open(R"({"a":{"shape":[[1]]}})", ""),
            "x: entry 'a': shape: found an array, expected a whole number that is not negative");
  EXPECT_EQ(Open(R"({"a":)" + std::string(1'000'000, '['), ""), "x: entry 'a': found an array, expected an object");
}

TEST(SafetensorsFile, RefusesNumbersThatAreNegativeFractionalOrHuge) {
  const std::string expected = ", expected a whole number that is not negative";
  EXPECT_EQ(Open(Header(Entry("a", "[-1]", "[0,4]")), "1234"),
            "x: entry 'a': shape: found the negative number -1" + expected);
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[-4,0]")), "1234"),
            "x: entry 'a': data_offsets: found the negative number -4" + expected);
  EXPECT_EQ(Open(Header(Entry("a", "[1.0]", "[0,4]")), "1234"),
            "x: entry 'a': shape: found the number '1.0'" + expected);
  EXPECT_EQ(Open(Header(Entry("a", "[1e0]", "[0,4]")), "1234"),
            "x: entry 'a': shape: found the number '1e0'" + expected);
  EXPECT_EQ(Open(Header(Entry("a", "[9223372036854775808]", "[0,4]")), "1234"),
            "x: entry 'a': shape: 9223372036854775808 does not fit a signed 64-bit integer");
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[0,18446744073709551620]")), "1234"),
            "x: entry 'a': data_offsets: found the number '18446744073709551620'" + expected);
}

TEST(SafetensorsFile, RefusesOffsetsThatAreNotTwoNumbers) {
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[0]")), "1234"),
            "x: entry 'a': data_offsets: found 1 numbers, expected [begin, end]");
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[0,4,8]")), "1234"),
            "x: entry 'a': data_offsets: found 3 numbers, expected [begin, end]");
}

TEST(SafetensorsFile, RefusesMoreThan64Dimensions) {
  std::string shape = "[1";
  for (int i = 1; i < 64; ++i) shape += ",1";
  EXPECT_EQ(Open(Header(Entry("a", shape + "]", "[0,4]")), "1234"), "no error");
  EXPECT_EQ(Open(Header(Entry("a", shape + ",1]", "[0,4]")), "1234"), "x: entry 'a': shape: more than 64 numbers");
}

TEST(SafetensorsFile, RefusesAHeaderBomb) {
  std::string entries = Entry("0", "[0]", "[0,0]");
  for (int i = 1; i <= 262144; ++i) entries += "," + Entry(std::to_string(i), "[0]", "[0,0]");
  EXPECT_EQ(Open(Header(entries), ""), "x: more than 262144 entries");
  std::string metadata = R"("0":"")";
  for (int i = 1; i <= 65536; ++i) metadata += ",\"" + std::to_string(i) + "\":\"\"";
  EXPECT_EQ(Open(R"({"__metadata__":{)" + metadata + "}}", ""), "x: __metadata__: more than 65536 keys");
}

TEST(SafetensorsFile, RefusesDtypesByName) {
  const std::string expected = ", expected BOOL, U8, I8, I16, I32, I64, F16, BF16, F32 or F64";
  for (const std::string dtype : {"F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ",
                                  "F8_E5M2FNUZ", "U16", "U32", "U64", "C64"})
    EXPECT_EQ(Open(Header(Entry("a", "[4]", "[0,4]", dtype)), "1234"),
              "x: entry 'a': unsupported dtype '" + dtype + "'" + expected + "; save the model as BF16 or F32 first");
  EXPECT_EQ(Open(Header(Entry("a", "[4]", "[0,4]", "f32")), "1234"), "x: entry 'a': unknown dtype 'f32'" + expected);
}

TEST(SafetensorsFile, RefusesOffsetsThatRunBackwards) {
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[4,0]")), "1234"), "x: entry 'a': data_offsets [4, 0] run backwards");
}

TEST(SafetensorsFile, RefusesAShapeWhoseProductOverflows) {
  // 2^32 * 2^32 wraps to 0, which would fit the offsets.
  EXPECT_EQ(Open(Header(Entry("a", "[4294967296,4294967296]", "[0,0]")), ""),
            "x: entry 'a': shape [4294967296, 4294967296] of F32 has more bytes than 64 bits count");
  EXPECT_EQ(Open(Header(Entry("a", "[0,4294967296,4294967296]", "[0,0]")), ""),
            "x: entry 'a': shape [0, 4294967296, 4294967296] of F32 has more bytes than 64 bits count");
}

TEST(SafetensorsFile, RefusesAByteCountThatOverflows) {
  // 2^62 elements of 4 bytes wrap to 0.
  EXPECT_EQ(Open(Header(Entry("a", "[4611686018427387904]", "[0,0]")), ""),
            "x: entry 'a': shape [4611686018427387904] of F32 has more bytes than 64 bits count");
}

TEST(SafetensorsFile, RefusesOffsetsThatDoNotFitTheShape) {
  EXPECT_EQ(Open(Header(Entry("a", "[2]", "[0,4]")), "1234"),
            "x: entry 'a': data_offsets [0, 4] hold 4 bytes, but shape [2] of F32 needs 8");
  EXPECT_EQ(Open(Header(Entry("a", "[1099511627776]", "[0,4]")), "1234"),  // a declared shape far larger than the data
            "x: entry 'a': data_offsets [0, 4] hold 4 bytes, but shape [1099511627776] of F32 needs 4398046511104");
}

TEST(SafetensorsFile, RefusesAHoleBetweenEntries) {
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[4,8]")), "12345678"),
            "x: entry 'a': data begins at 4, expected 0: there is a hole before it");
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[0,4]") + "," + Entry("b", "[1]", "[8,12]")), "123456789012"),
            "x: entry 'b': data begins at 8, expected 4: there is a hole before it");
}

TEST(SafetensorsFile, RefusesEntriesThatOverlapOrShareBytes) {
  EXPECT_EQ(Open(Header(Entry("a", "[2]", "[0,8]") + "," + Entry("b", "[1]", "[4,8]")), "12345678"),
            "x: entry 'b': data begins at 4, expected 8: it overlaps another entry");
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[0,4]") + "," + Entry("b", "[1]", "[0,4]")), "1234"),
            "x: entry 'b': data begins at 0, expected 4: it overlaps another entry");
}

TEST(SafetensorsFile, RefusesDataThatEndsBeyondTheFile) {
  EXPECT_EQ(Open(Header(Entry("a", "[2]", "[0,8]")), "1234567"),
            "x: entry 'a': data ends at 8, but the file has 7 bytes of data; the file is truncated");
  EXPECT_EQ(Open(Header(Entry("a", "[2305843009213693951]", "[0,9223372036854775804]")), "1234"),
            "x: entry 'a': data ends at 9223372036854775804, but the file has 4 bytes of data; the file is truncated");
}

TEST(SafetensorsFile, RefusesBytesAfterTheLastEntry) {
  EXPECT_EQ(Open(Header(Entry("a", "[1]", "[0,4]")), "1234PK\3\4"),
            "x: 4 bytes of data follow the last entry, expected none");
  EXPECT_EQ(Open("{}", "x"), "x: 1 bytes of data follow the last entry, expected none");
}

TEST(SafetensorsFile, ShowsHostileNamesOnOneLine) {
  EXPECT_EQ(Open(Header(Entry("a\\n\\u001b[2J\xC3\xA9", "[1]", "[4,0]")), "1234"),
            "x: entry 'a\\x0a\\x1b[2J\\xc3\\xa9': data_offsets [4, 0] run backwards");
  const std::string message = Open(Header(Entry(std::string(1'000'000, 'n'), "[1]", "[4,0]")), "1234");
  EXPECT_EQ(message, "x: entry '" + std::string(96, 'n') + "...' (1000000 bytes): data_offsets [4, 0] run backwards");
}

TEST(SafetensorsFile, RefusesEveryTruncationOfAFile) {
  const std::string whole = ReadFile(Fixture("reference.safetensors"));
  ASSERT_EQ(ErrorOf<SafetensorsFile>(whole), "no error");
  for (size_t bytes = 0; bytes < whole.size(); ++bytes)
    EXPECT_NE(ErrorOf<SafetensorsFile>(std::string_view(whole).substr(0, bytes)), "no error") << bytes;
}

// Opens, or throws an Error: never a crash, a bad_alloc or another exception, which would escape MessageOf.
TEST(SafetensorsFile, SurvivesRandomDamage) {
  const std::string whole = ReadFile(Fixture("reference.safetensors"));
  const TempFolder folder;
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = whole;
    for (unsigned n = random() % 4 + 1; n > 0; --n) damaged[random() % damaged.size()] = static_cast<char>(random());
    std::ofstream(folder / "x", std::ios::binary) << damaged;
    MessageOf([&] {
      const SafetensorsFile file(folder / "x");
      for (const StoredTensor& tensor : file.tensors()) {
        std::vector<std::byte> bytes(tensor.bytes);
        file.Read(tensor, bytes);
      }
    });
  }
}

// scripts/make_safetensors_fixture.py wrote the file with the reference implementation.
TEST(WriteSafetensors, WritesTheBytesOfTheReference) {
  const SafetensorsFile reference(Fixture("reference.safetensors"));
  EXPECT_EQ(reference.tensors().size(), 14U);
  std::vector<std::string> data;
  std::vector<TensorToStore> tensors;
  for (const StoredTensor& tensor : reference.tensors()) {
    data.emplace_back(tensor.bytes, '\0');
    reference.Read(tensor, std::as_writable_bytes(std::span(data.back())));
  }
  for (size_t i = data.size(); i-- > 0;) {  // backwards: the writer sorts
    const StoredTensor& tensor = reference.tensors()[i];
    tensors.push_back({tensor.name, tensor.type, tensor.shape, std::as_bytes(std::span(data[i]))});
  }
  const TempFolder folder;
  WriteSafetensors(folder / "x", tensors, reference.metadata());
  EXPECT_EQ(ReadFile(folder / "x"), ReadFile(Fixture("reference.safetensors")));
  WriteSafetensors(folder / "empty", {});
  EXPECT_EQ(ReadFile(folder / "empty"), ReadFile(Fixture("reference_empty.safetensors")));
}

TEST(WriteSafetensors, RefusesWhatNoReaderWouldTake) {
  const TempFolder folder;
  const std::string where = (folder / "x").string();
  const std::string data = "1234";
  const auto bytes = std::as_bytes(std::span(data));
  const auto write = [&](std::vector<TensorToStore> tensors, const std::map<std::string, std::string>& metadata = {}) {
    return MessageOf([&] { WriteSafetensors(folder / "x", tensors, metadata); });
  };
  EXPECT_EQ(write({{"a", StoredType::kF32, {2}, bytes}}),
            where + ": tensor 'a': 4 bytes given, but shape [2] of F32 needs 8");
  EXPECT_EQ(write({{"a", StoredType::kF32, {-1}, bytes}}),
            where + ": tensor 'a': 4 bytes given, but shape [-1] of F32 needs more than 64 bits count");
  EXPECT_EQ(write({{"a", StoredType::kF32, {1}, bytes}, {"a", StoredType::kU8, {4}, bytes}}),
            where + ": two tensors are called 'a'");
  EXPECT_EQ(write({{"__metadata__", StoredType::kF32, {1}, bytes}}),
            where + ": a tensor cannot be called '__metadata__'");
  EXPECT_EQ(write({{"\xff", StoredType::kF32, {1}, bytes}}),
            where + ": a tensor name or the metadata is not valid UTF-8");
  EXPECT_EQ(write({}, {{"k", "\xff"}}), where + ": a tensor name or the metadata is not valid UTF-8");
  EXPECT_FALSE(std::filesystem::exists(folder / "x"));
}

}  // namespace
}  // namespace espalier
