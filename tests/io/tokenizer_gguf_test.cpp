// Tokenizers from GGUF metadata: files made by hand, right and wrong.
#include <gtest/gtest.h>

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

class TokenizerGguf : public testing::Test {
 protected:
  std::filesystem::path Write(const Metadata& metadata) {
    hostile::Gguf gguf;
    for (const auto& [key, value] : metadata) gguf.pairs.push_back(Pair(key, value.type, value.bytes));
    WriteFile(folder_ / "x.gguf", gguf.Bytes());
    return folder_ / "x.gguf";
  }
  // What is said of the small file with one entry changed (or, without a type, removed); without the file's name.
  std::string Refusal(const std::string& key, const Value& value) {
    Metadata metadata = Small();
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
  EXPECT_TRUE(ReadTokenizerGguf(GgufFile(Write(metadata))).nfc);
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
  EXPECT_EQ(Refusal("tokenizer.ggml.model", TextValue("llama")),
            "tokenizer.ggml.model is 'llama', which is not supported; supported: gpt2 (byte-level BPE)");
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

TEST_F(TokenizerGguf, RefusesArraysOfAnotherKind) {
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"})
    EXPECT_NE(Refusal(key, Types({1, 2, 3, 4, 5, 6, 7})).find(key), std::string::npos);
  EXPECT_NE(Refusal("tokenizer.ggml.token_type", Texts({"a"})).find("tokenizer.ggml.token_type"), std::string::npos);
  EXPECT_NE(Refusal("tokenizer.ggml.bos_token_id", TextValue("0")).find("tokenizer.ggml.bos_token_id"),
            std::string::npos);
}

}  // namespace
}  // namespace espalier
