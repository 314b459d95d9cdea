// Tokenizers from GGUF metadata: files made by hand, right and wrong.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "espalier/core/files.h"
#include "espalier/io/gguf.h"
#include "espalier/io/tokenizer.h"
#include "espalier/io/tokenizer_spec.h"
#include "hostile.h"
#include "support/support.h"

namespace espalier {
namespace {

using hostile::Array;
using hostile::Pair;
using hostile::Raw;

// One metadata entry without its key: type and value.
struct Value {
  int32_t type;
  std::string bytes;
};
using Metadata = std::map<std::string, Value>;

Value TextValue(std::string_view text) {
  return {hostile::kString, hostile::Text(text)};
}
Value IdValue(uint32_t id) {
  return {hostile::kU32, Raw(id)};
}

Value Texts(const std::vector<std::string>& texts) {
  std::string bytes;
  for (const std::string& text : texts) bytes += hostile::Text(text);
  return {hostile::kArray, Array(hostile::kString, texts.size(), bytes)};
}

Value Types(const std::vector<int32_t>& types) {
  std::string bytes;
  for (const int32_t type : types) bytes += Raw(type);
  return {hostile::kArray, Array(hostile::kI32, types.size(), bytes)};
}

// 0 <s> (control), 1 a, 2 b, 3 Ġ, 4 ab, 5 <t> (user defined), 6 padding.
Metadata Small() {
  Metadata metadata;
  metadata["general.architecture"] = TextValue("llama");
  metadata["tokenizer.ggml.model"] = TextValue("gpt2");
  metadata["tokenizer.ggml.pre"] = TextValue("smollm");
  metadata["tokenizer.ggml.tokens"] = Texts({"<s>", "a", "b", "Ġ", "ab", "<t>", "[PAD6]"});
  metadata["tokenizer.ggml.token_type"] = Types({3, 1, 1, 1, 1, 4, 5});
  metadata["tokenizer.ggml.merges"] = Texts({"a b"});
  metadata["tokenizer.ggml.bos_token_id"] = IdValue(0);
  return metadata;
}

Value Reals(const std::vector<float>& reals) {
  std::string bytes;
  for (const float real : reals) bytes += Raw(real);
  return {hostile::kArray, Array(hostile::kF32, reals.size(), bytes)};
}

Value BoolValue(bool value) {
  return {hostile::kBool, Raw(uint8_t{value})};
}

// 0 <unk>, 1 <s>, 2 </s>, 3 the byte 0xC3, 4 the byte 0xA9, 5 ▁, 6 a, 7 b, 8 ab, 9 ▁a, 10 bab, 11 <t> (user defined).
Metadata Scored() {
  Metadata metadata;
  metadata["general.architecture"] = TextValue("llama");
  metadata["tokenizer.ggml.model"] = TextValue("llama");
  metadata["tokenizer.ggml.tokens"] =
      Texts({"<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁", "a", "b", "ab", "▁a", "bab", "<t>"});
  metadata["tokenizer.ggml.token_type"] = Types({2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 4});
  metadata["tokenizer.ggml.scores"] = Reals({0, 0, 0, 0, 0, -9, -9, -9, -2, -1, -3, 0});
  return metadata;
}

class TokenizerGguf : public testing::Test {
 protected:
  std::filesystem::path Write(const Metadata& metadata) {
    hostile::Gguf gguf;
    for (const auto& [key, value] : metadata) gguf.pairs.push_back(Pair(key, value.type, value.bytes));
    WriteFile(folder_ / "x.gguf", gguf.Bytes());
    return folder_ / "x.gguf";
  }
  // What is said of the small file with one entry changed (or, without a type, removed); without the file's name.
  std::string Refusal(const std::string& key, const Value& value, Metadata metadata = Small()) {
    metadata[key] = value;
    if (value.type < 0) metadata.erase(key);
    const std::filesystem::path path = Write(metadata);
    const std::string message = MessageOf([&] { Tokenizer::Open(path); });
    const std::string start = path.string() + ": ";
    return message.starts_with(start) ? message.substr(start.size()) : "no file named: " + message;
  }
  TempFolder folder_;
};

TEST_F(TokenizerGguf, EncodesWithVocabularyMergesAndAddedTokens) {
  const auto tokenizer = Tokenizer::Open(Write(Small()));
  EXPECT_EQ(tokenizer->Encode("ab ba<t><s>"), (std::vector<int32_t>{4, 3, 2, 1, 5, 0}));
  EXPECT_EQ(tokenizer->Encode("[PAD6]"), std::vector<int32_t>{});  // padding is no token, and these bytes have none
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{0, 4, 3, 6, 5}), "<s>ab <t>");
  EXPECT_EQ(tokenizer->vocabulary_size(), 7);
  EXPECT_EQ(tokenizer->bos(), 0);
  EXPECT_EQ(tokenizer->eos(), std::nullopt);
  EXPECT_FALSE(tokenizer->adds_bos());
}

TEST_F(TokenizerGguf, FollowsTheFamilyUnlessTheFileSaysOtherwise) {
  Metadata metadata = Small();
  metadata["tokenizer.ggml.pre"] = TextValue("llama-bpe");
  EXPECT_TRUE(Tokenizer::Open(Write(metadata))->adds_bos());
  metadata["tokenizer.ggml.add_bos_token"] = {hostile::kBool, Raw(uint8_t{0})};
  EXPECT_FALSE(Tokenizer::Open(Write(metadata))->adds_bos());
  metadata["tokenizer.ggml.pre"] = TextValue("qwen2");
  EXPECT_EQ(ReadTokenizerGguf(GgufFile(Write(metadata))).normalizers, std::vector<NormalizeStep>{NormalizeStep{}});
}

TEST_F(TokenizerGguf, HasTheFingerprintOfTheFilesItSaves) {
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
    Metadata metadata = Small();
    metadata["tokenizer.ggml.pre"] = TextValue(pre);
    const auto tokenizer = Tokenizer::Open(Write(metadata));
    tokenizer->Save(folder_ / pre);
    const auto saved = Tokenizer::Open(folder_ / pre);
    EXPECT_EQ(saved->Fingerprint(), tokenizer->Fingerprint()) << pre;
    EXPECT_EQ(saved->bos(), tokenizer->bos()) << pre;
    EXPECT_EQ(saved->adds_bos(), tokenizer->adds_bos()) << pre;
  }
}

TEST_F(TokenizerGguf, RefusesOtherModelsAndPreTokenizersByName) {
  EXPECT_EQ(Refusal("tokenizer.ggml.model", TextValue("t5")),
            "tokenizer.ggml.model is 't5', which is not supported; supported: gpt2 (byte-level BPE), llama "
            "(SentencePiece BPE)");
  EXPECT_EQ(
      Refusal("tokenizer.ggml.pre", TextValue("tekken")),
      "tokenizer.ggml.pre is 'tekken', which is not supported; supported: gpt-2 (GPT-2), smollm (SmolLM2), starcoder "
      "(SmolLM2), llama-bpe (Llama-3), llama3 (Llama-3), llama-v3 (Llama-3), qwen2 (Qwen2)");
  EXPECT_NE(Refusal("tokenizer.ggml.pre", {-1, ""}).find("tokenizer.ggml.pre is missing"), std::string::npos);
}

TEST_F(TokenizerGguf, RefusesPartsThatDoNotFitTogether) {
  EXPECT_EQ(Refusal("tokenizer.ggml.merges", Texts({"a b", "a c"})),
            "tokenizer.ggml.merges[1]: 'a c' needs the token 'c', which is not in the vocabulary");
  EXPECT_EQ(Refusal("tokenizer.ggml.merges", Texts({"b a"})),
            "tokenizer.ggml.merges[0]: 'b a' needs the token 'ba', which is not in the vocabulary");
  EXPECT_EQ(Refusal("tokenizer.ggml.merges", Texts({"ab"})),
            "tokenizer.ggml.merges[0]: found 'ab', expected two tokens with one space between");
  EXPECT_EQ(Refusal("tokenizer.ggml.token_type", Types({3, 1})),
            "tokenizer.ggml.token_type has 2 entries, expected 7, one for each token");
  EXPECT_EQ(Refusal("tokenizer.ggml.token_type", Types({3, 1, 1, 1, 1, 4, 9})),
            "tokenizer.ggml.token_type[6] is 9, expected 1 to 6");
  EXPECT_EQ(Refusal("tokenizer.ggml.bos_token_id", IdValue(7)),
            "tokenizer.ggml.bos_token_id is 7, expected 0 to 6, an id of the vocabulary");
  EXPECT_EQ(Refusal("tokenizer.ggml.bos_token_id", IdValue(6)),
            "the beginning-of-sequence token has id 6, which is not in the vocabulary of 7 tokens");
  EXPECT_EQ(Refusal("tokenizer.ggml.tokens", Texts({"<s>", "a", "b", "a", "ab", "<t>", "x"})),
            "tokens 1 and 3 are both 'a'");
  EXPECT_EQ(Refusal("tokenizer.ggml.tokens", Texts({})),
            "tokenizer.ggml.token_type has 7 entries, expected 0, one for each token");
}

// "▁ab": ▁a (-1) comes before ab (-2). "▁bab": ab, then bab. "é" has byte tokens, "x" has none and is <unk>.
TEST_F(TokenizerGguf, MergesTheBestScoreFirstAndFallsBackToBytes) {
  const auto tokenizer = Tokenizer::Open(Write(Scored()));
  EXPECT_EQ(tokenizer->Encode("ab"), (std::vector<int32_t>{9, 7}));
  EXPECT_EQ(tokenizer->Encode("bab"), (std::vector<int32_t>{5, 10}));
  EXPECT_EQ(tokenizer->Encode("éx"), (std::vector<int32_t>{5, 3, 4, 0}));
  EXPECT_EQ(tokenizer->Encode("</s>b<t>"), (std::vector<int32_t>{2, 5, 7, 11}));
  EXPECT_EQ(tokenizer->Encode(""), std::vector<int32_t>{});
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{9, 7, 5, 3, 4}), "ab é");
}

// Of aab and bba both scores are -2: the leftmost pair decides, whichever token it makes.
TEST_F(TokenizerGguf, MergesTheLeftmostOfEqualScores) {
  Metadata metadata = Scored();
  metadata["tokenizer.ggml.add_space_prefix"] = BoolValue(false);
  metadata["tokenizer.ggml.tokens"] = Texts({"<unk>", "<s>", "</s>", "c", "d", "▁", "a", "b", "ab", "ba", "x", "<t>"});
  metadata["tokenizer.ggml.token_type"] = Types({2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 4});
  metadata["tokenizer.ggml.scores"] = Reals({0, 0, 0, 0, 0, -9, -9, -9, -2, -2, -9, 0});
  const auto tokenizer = Tokenizer::Open(Write(metadata));
  EXPECT_EQ(tokenizer->Encode("aba"), (std::vector<int32_t>{8, 6}));
  EXPECT_EQ(tokenizer->Encode("bab"), (std::vector<int32_t>{9, 7}));
}

// llama.cpp's defaults for this kind: ids 1, 2 and 0, a space in front and <s>.
TEST_F(TokenizerGguf, TakesWhatLlamaCppTakesWhereASentencePieceFileIsSilent) {
  const TokenizerSpec spec = ReadTokenizerGguf(GgufFile(Write(Scored())));
  EXPECT_EQ(spec.bos, 1);
  EXPECT_EQ(spec.eos, 2);
  EXPECT_EQ(spec.unknown, 0);
  EXPECT_TRUE(spec.adds_bos);
  EXPECT_FALSE(spec.adds_eos);
  Metadata metadata = Scored();
  metadata["tokenizer.ggml.add_bos_token"] = metadata["tokenizer.ggml.add_space_prefix"] = BoolValue(false);
  metadata["tokenizer.ggml.bos_token_id"] = IdValue(2);
  const auto tokenizer = Tokenizer::Open(Write(metadata));
  EXPECT_FALSE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->bos(), 2);
  EXPECT_EQ(tokenizer->Encode("ab"), std::vector<int32_t>{8});
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{9, 7}), " ab");
}

TEST_F(TokenizerGguf, SavesBothEndsOfATextAndTheFingerprintOfScores) {
  Metadata metadata = Scored();
  metadata["tokenizer.ggml.add_eos_token"] = BoolValue(true);
  const auto tokenizer = Tokenizer::Open(Write(metadata));
  tokenizer->Save(folder_ / "saved");
  const auto saved = Tokenizer::Open(folder_ / "saved");
  EXPECT_EQ(saved->Fingerprint(), tokenizer->Fingerprint());
  EXPECT_EQ(saved->Encode("ab bab<t>éx"), tokenizer->Encode("ab bab<t>éx"));
  EXPECT_TRUE(saved->adds_bos());
  EXPECT_EQ(saved->bos(), 1);
  const std::string json = ReadFile(folder_ / "saved" / "tokenizer.json");
  EXPECT_NE(json.find("\"single\": [\n      {\n        \"SpecialToken\": {\n          \"id\": \"<s>\""),
            std::string::npos);
  EXPECT_NE(ReadFile(folder_ / "saved" / "tokenizer_config.json").find("\"add_eos_token\": true"), std::string::npos);
}

TEST_F(TokenizerGguf, RefusesScoresThatDoNotFit) {
  const auto refusal = [&](const char* key, const Value& value) { return Refusal(key, value, Scored()); };
  EXPECT_EQ(refusal("tokenizer.ggml.scores", Reals({1, 2})),
            "tokenizer.ggml.scores has 2 entries, expected 12, one for each token");
  EXPECT_EQ(refusal("tokenizer.ggml.scores", Reals({0, 0, 0, 0, 0, NAN, 0, 0, 0, 0, 0, 0})),
            "tokenizer.ggml.scores[5]: found nan, expected a finite number");
  EXPECT_NE(refusal("tokenizer.ggml.scores", {-1, ""}).find("no key 'tokenizer.ggml.scores'"), std::string::npos);
  EXPECT_NE(refusal("tokenizer.ggml.scores", Types({1})).find("an array of real numbers"), std::string::npos);
  EXPECT_EQ(refusal("tokenizer.ggml.tokens",
                    Texts({"<unk>", "<s>", "</s>", "3", "4", std::string(1025, 'x'), "6", "7", "8", "9", "10", "<t>"})),
            "tokenizer.ggml.scores[5]: the token has 1025 bytes, expected at most 1024");
  EXPECT_EQ(refusal("tokenizer.ggml.tokens",
                    Texts({"<unk>", "<s>", "</s>", "3", "4", "\xE2\x96", "6", "7", "8", "9", "10", "<t>"})),
            "token 5 is '\uFFFD', expected valid UTF-8");
}

// A reader of signed hexadecimal took <0x-1> for the byte -1 and wrote before its table (llama.cpp PR 25969).
TEST_F(TokenizerGguf, TakesNoByteTokenWithASignASpaceOrAnotherDigit) {
  for (const char* token : {"<0x-1>", "<0x+3>", "<0x 3>", "<0xG3>", "<0xc3>"}) {
    Metadata metadata = Scored();
    metadata["tokenizer.ggml.tokens"] =
        Texts({"<unk>", "<s>", "</s>", token, "<0xA9>", "▁", "a", "b", "ab", "▁a", "bab", "<t>"});
    EXPECT_EQ(Tokenizer::Open(Write(metadata))->Encode("éa"), (std::vector<int32_t>{5, 0, 6})) << token;
  }
}

// An array was read as int32 whatever its elements were (llama.cpp PR 26690).
TEST_F(TokenizerGguf, ReadsArraysByTheTypeOfTheirElements) {
  Metadata metadata = Small();
  metadata["tokenizer.ggml.token_type"] = {hostile::kArray, Array(hostile::kU8, 7, "\3\1\1\1\1\4\5")};
  EXPECT_EQ(Tokenizer::Open(Write(metadata))->Encode("ab ba<t><s>"), (std::vector<int32_t>{4, 3, 2, 1, 5, 0}));
}

// Ids that a reader takes for granted, and a vocabulary that ends before them (llama.cpp PRs 14145, 25475).
TEST_F(TokenizerGguf, RefusesAVocabularyThatEndsBeforeItsSpecialTokens) {
  Metadata metadata = Scored();
  metadata["tokenizer.ggml.tokens"] = Texts({"a"});
  metadata["tokenizer.ggml.token_type"] = Types({1});
  EXPECT_NE(Refusal("tokenizer.ggml.scores", Reals({0}), metadata).find("has id 1, which is not in the vocabulary"),
            std::string::npos);
  for (const char* key : {"bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id"})
    EXPECT_NE(Refusal(std::string("tokenizer.ggml.") + key, IdValue(0xFFFFFFFF), Scored()).find("4294967295"),
              std::string::npos)
        << key;
}

// Four bytes of it were read as a length, whether or not they were there (llama.cpp PR 25258).
TEST_F(TokenizerGguf, ReadsNothingFromAPrecompiledCharsmap) {
  Metadata metadata = Scored();
  metadata["tokenizer.ggml.precompiled_charsmap"] = {hostile::kArray, Array(hostile::kU8, 2, "ab")};
  EXPECT_EQ(Tokenizer::Open(Write(metadata))->Encode("ab"), (std::vector<int32_t>{9, 7}));
}

TEST_F(TokenizerGguf, RefusesArraysOfAnotherKind) {
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"})
    EXPECT_NE(Refusal(key, Types({1, 2, 3, 4, 5, 6, 7})).find(key), std::string::npos);
  EXPECT_NE(Refusal("tokenizer.ggml.token_type", Texts({"a"})).find("tokenizer.ggml.token_type"), std::string::npos);
  EXPECT_NE(Refusal("tokenizer.ggml.bos_token_id", TextValue("0")).find("tokenizer.ggml.bos_token_id"),
            std::string::npos);
}

}  // namespace
}  // namespace espalier
