// Reading, refusing, saving and using whole tokenizers.
#include "espalier/io/tokenizer.h"

#include <gtest/gtest.h>
#include <tbb/parallel_for.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/io/gguf.h"
#include "espalier/io/text.h"
#include "espalier/io/tokenizer_spec.h"
#include "support/support.h"

namespace espalier {
namespace {

const std::filesystem::path kFixtures = ESPALIER_SOURCE_DIR "/tests/io/fixtures/tokenizer";
const char* const kFamilies[] = {"gpt-2", "smollm2", "llama-3", "qwen2"};

// Text that meets every rule: added tokens, digits, newlines, invalid UTF-8, marks out of order.
std::string MixedText(size_t bytes) {
  std::string text;
  for (size_t i = 0; text.size() < bytes; ++i)
    text += "The cat's 12345 wikis,\n\n  e\u0301 " + std::to_string(i * 7919) + "<|end|> 中文 \xFF caf\u00E9 au lait! ";
  return text;
}

TEST(Tokenizer, GivesTheSameIdsHoweverLongTextsAreSplit) {
  const std::string unit = MixedText(3000);
  for (const char* family : kFamilies) {
    const auto tokenizer = Tokenizer::Open(kFixtures / family);
    // "<|end|>" separates, so repeating a text that ends with it repeats its ids; 2 MB are 30 chunks.
    const std::string once = unit + "<|endoftext|>";
    const std::vector<int32_t> part = tokenizer->Encode(once);
    std::string text;
    std::vector<int32_t> expected;
    while (text.size() < 2'000'000) {
      text += once;
      expected.insert(expected.end(), part.begin(), part.end());
    }
    EXPECT_EQ(tokenizer->Encode(text), expected) << family;
  }
}

// Without added tokens chunks are cut at letters before spaces; the pieces of the whole are the oracle.
TEST(Tokenizer, ChunksOfPlainTextDoNotChangeIds) {
  std::string text;
  for (size_t i = 0; text.size() < 400'000; ++i)
    text += (i % 7 == 0 ? "word \n\n  x" : i % 5 == 0 ? "dog's  " : "plain text ") + std::to_string(i);
  for (const char* family : kFamilies) {
    TokenizerSpec spec = ReadTokenizerJson(kFixtures / family / "tokenizer.json");
    const auto cut = MakeTokenizer(spec);
    SplitStep never;  // makes the steps those of no known family, so that nothing is cut
    never.kind = SplitStep::Kind::kPattern;
    never.pattern = "\\x{10FFFF}";
    spec.steps.insert(spec.steps.begin(), never);
    EXPECT_EQ(cut->Encode(text), MakeTokenizer(spec)->Encode(text)) << family;
  }
}

// Found by fuzzing: the fingerprint read past the tokens.
TEST(Tokenizer, AnAddedTokenFarBehindTheOthersLeavesIdsWithoutText) {
  TokenizerSpec spec = ReadTokenizerJson(kFixtures / "smollm2" / "tokenizer.json");
  const auto last = static_cast<int32_t>(std::max(spec.tokens.size(), spec.added.size()));
  const std::string before = MakeTokenizer(spec)->Fingerprint();
  AddedToken far = spec.added.back();
  far.id = last + 5000, far.content = "<far>";
  spec.added.push_back(far);
  const auto tokenizer = MakeTokenizer(spec);
  EXPECT_EQ(tokenizer->vocabulary_size(), last + 5001);
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{last + 17, far.id}), "<far>");
  EXPECT_NE(tokenizer->Fingerprint(), before);
}

TEST(Tokenizer, GivesTheSameIdsFromManyThreads) {
  const auto tokenizer = Tokenizer::Open(kFixtures / "llama-3");
  std::vector<std::string> texts;
  for (size_t i = 0; i < 64; ++i) texts.push_back(MixedText(1000 + i * 997));
  const std::vector<std::vector<int32_t>> together = EncodeDocuments(*tokenizer, texts);
  for (size_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(together[i], Tokenizer::Open(kFixtures / "llama-3")->Encode(texts[i]));
}

TEST(Tokenizer, DecodesWhatItEncoded) {
  const auto texts = ReadJson(kFixtures / "texts.json").get<std::vector<std::string>>();
  for (const char* family : {"gpt-2", "llama-3"}) {  // smollm2 lacks bytes and qwen2 normalizes
    const auto tokenizer = Tokenizer::Open(kFixtures / family);
    for (const std::string& text : texts) {
      // Tokens with lstrip or rstrip swallow white space.
      if (text.find("<mask>") != text.npos || text.find("[R]") != text.npos || text.find("über") != text.npos) continue;
      EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
    }
  }
}

TEST(Tokenizer, DecodesHalfACharacterAndUnknownIdsWithoutFailing) {
  const auto tokenizer = Tokenizer::Open(kFixtures / "gpt-2");
  std::vector<int32_t> ids = tokenizer->Encode("😀");
  ASSERT_GT(ids.size(), 1u);
  ids.pop_back();
  EXPECT_EQ(tokenizer->Decode(ids), "\uFFFD");
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{-1, 1 << 30}), "");
}

TEST(Tokenizer, ReplacesInvalidUtf8BeforeEncoding) {
  const auto tokenizer = Tokenizer::Open(kFixtures / "gpt-2");
  EXPECT_EQ(tokenizer->Encode("a\xFF\xE2\x82z"), tokenizer->Encode("a\uFFFD\uFFFDz"));
}

class TokenizerFile : public testing::Test {
 protected:
  // The tokenizer.json of a family, changed.
  std::filesystem::path Changed(const std::string& family, const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json json = nlohmann::json::parse(ReadFile(kFixtures / family / "tokenizer.json"));
    change(json);
    WriteFile(folder_ / "tokenizer.json", json.dump());
    return folder_ / "tokenizer.json";
  }
  std::string Refusal(const std::function<void(nlohmann::json&)>& change, const std::string& family = "gpt-2") {
    const std::filesystem::path path = Changed(family, change);
    const std::string message = MessageOf([&] { Tokenizer::FromJson(path); });
    const std::string start = path.string() + ": ";
    return message.starts_with(start) ? message.substr(start.size()) : "no file named: " + message;
  }
  void WriteConfig(const std::string& text) { WriteFile(folder_ / "tokenizer_config.json", text); }

  TempFolder folder_;
};

TEST_F(TokenizerFile, RefusesWhatIsNotSupportedNamingTheKey) {
  const auto refusal = [&](const std::string& pointer, const nlohmann::json& value) {
    return Refusal([&](nlohmann::json& json) { json[nlohmann::json::json_pointer(pointer)] = value; });
  };
  EXPECT_EQ(refusal("/model/type", "Unigram"),
            "model.type: found \"Unigram\", expected \"BPE\": other models are not supported");
  EXPECT_NE(refusal("/model/byte_fallback", true).find("expected no ByteLevel, because model.byte_fallback is true"),
            std::string::npos);
  EXPECT_EQ(refusal("/model/dropout", 0.5), "model.dropout: found 0.5, expected null: ids would be random");
  EXPECT_EQ(refusal("/model/end_of_word_suffix", "</w>"),
            "model.end_of_word_suffix: found \"</w>\", expected null or \"\": others are not supported");
  EXPECT_EQ(refusal("/normalizer", {{"type", "NFKC"}}),
            "normalizer.type: found \"NFKC\", expected NFC, Prepend, Replace, a Sequence of them, or no normalizer: "
            "others are "
            "not supported");
  EXPECT_EQ(refusal("/pre_tokenizer", {{"type", "Whitespace"}}),
            "pre_tokenizer.type: found \"Whitespace\", expected Split, Digits, ByteLevel, Metaspace or a Sequence of "
            "them: others are not supported");
  EXPECT_EQ(refusal("/pre_tokenizer", nullptr),
            "pre_tokenizer: found null, expected exactly one ByteLevel, as the last pre-tokenizer, because "
            "model.byte_fallback is false");
  EXPECT_EQ(refusal("/pre_tokenizer", {{"type", "Split"}, {"behavior", "Removed"}}),
            "pre_tokenizer.behavior: found \"Removed\", expected \"Isolated\" or \"MergedWithPrevious\": other "
            "behaviours are not supported");
}

TEST_F(TokenizerFile, RefusesStepsOfByteFallbackThatAreNotSupported) {
  const auto refusal = [&](const std::string& pointer, const nlohmann::json& value) {
    return Refusal([&](nlohmann::json& json) { json[nlohmann::json::json_pointer(pointer)] = value; }, "llama-2");
  };
  EXPECT_EQ(
      refusal("/normalizer/normalizers/1/pattern", {{"Regex", " +"}}),
      "normalizer.normalizers[1].pattern: found {\"Regex\":\" +\"}, expected {\"String\": ...}: other patterns are "
      "not supported");
  EXPECT_EQ(refusal("/normalizer/normalizers/1/pattern", {{"String", ""}}),
            "normalizer.normalizers[1].pattern.String: found \"\", expected a text that is not empty");
  EXPECT_EQ(refusal("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}}),
            "pre_tokenizer.prepend_scheme: found \"last\", expected \"always\", \"first\" or \"never\"");
  EXPECT_EQ(
      refusal("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}, {"add_prefix_space", false}}),
      "pre_tokenizer.add_prefix_space: found false, expected prepend_scheme \"never\" beside it, as PyPI tokenizers "
      "does");
  EXPECT_EQ(
      refusal(
          "/pre_tokenizer",
          {{"type", "Split"}, {"behavior", "MergedWithPrevious"}, {"pattern", {{"String", " "}}}, {"invert", true}}),
      "pre_tokenizer.invert: found true, expected false");
  EXPECT_EQ(refusal("/decoder", nullptr), "decoder: found null, expected an object");
  EXPECT_EQ(
      refusal("/decoder/decoders/0/type", "WordPiece"),
      "decoder.decoders[0].type: found \"WordPiece\", expected Replace, ByteFallback, Fuse, Strip, Metaspace or a "
      "Sequence of them: others are not supported");
  EXPECT_EQ(refusal("/decoder/decoders/3/start", -1),
            "decoder.decoders[3].start: found -1, expected a number from 0 to 4194303");
}

TEST_F(TokenizerFile, RefusesVocabulariesThatContradictThemselves) {
  using J = nlohmann::json;
  EXPECT_EQ(Refusal([](J& json) { json["model"]["vocab"]["!!!"] = json["model"]["vocab"]["!"]; }),
            "model.vocab: '!' and '!!!' have the same id 0");
  EXPECT_EQ(Refusal([](J& json) { json["model"]["vocab"]["x x"] = -1; }),
            "model.vocab['x x']: found -1, expected an id from 0 to 4194303");
  EXPECT_EQ(Refusal([](J& json) { json["model"]["vocab"]["x x"] = 1e9; }),
            "model.vocab['x x']: found 1000000000.0, expected an id from 0 to 4194303");
  EXPECT_EQ(Refusal([](J& json) { json["model"]["merges"][1] = "zzz a"; }),
            "model.merges[1]: 'zzz a' needs the token 'zzz', which is not in the vocabulary");
  EXPECT_EQ(Refusal([](J& json) { json["model"]["merges"][1] = "a b c"; }),
            "model.merges[1]: found 'a b c', expected two tokens with one space between");
  EXPECT_EQ(Refusal([](J& json) { json["model"]["merges"][1] = 7; }),
            "model.merges[1]: found 7, expected \"left right\" or [\"left\", \"right\"]");
  EXPECT_NE(Refusal([](J& json) { json["model"]["merges"][1] = json["model"]["merges"][0]; }).find("is listed twice"),
            std::string::npos);
  EXPECT_NE(Refusal([](J& json) { json["added_tokens"][0]["id"] = 5; }).find("which the vocabulary gives to"),
            std::string::npos);
  EXPECT_NE(Refusal([](J& json) {
              json["added_tokens"][0]["id"] = json["added_tokens"][1]["id"];
            }).find("two added tokens have the id"),
            std::string::npos);
  EXPECT_EQ(Refusal([](J& json) { json.erase("model"); }),
            "model: found null, expected an object with type, vocab and merges");
  EXPECT_EQ(Refusal([](J& json) { json["model"]["vocab"] = J::array(); }),
            "model.vocab: found [], expected an object of tokens and ids");
}

TEST_F(TokenizerFile, TakesSpecialTokensFromTheConfiguration) {
  const std::filesystem::path path = Changed("gpt-2", [](nlohmann::json&) {});
  EXPECT_EQ(Tokenizer::FromJson(path)->bos(), std::nullopt);
  WriteConfig(R"({"bos_token": {"content": "<|endoftext|>"}, "eos_token": "<|end|>", "pad_token": null})");
  const auto tokenizer = Tokenizer::Open(folder_.path());
  EXPECT_EQ(tokenizer->bos(), tokenizer->Encode("<|endoftext|>")[0]);
  EXPECT_EQ(tokenizer->eos(), tokenizer->Encode("<|end|>")[0]);
  EXPECT_FALSE(tokenizer->adds_bos());
  WriteConfig(R"({"eos_token": "<nothing>"})");
  EXPECT_NE(MessageOf([&] { Tokenizer::FromJson(path); }).find("tokenizer_config.json: eos_token: found \"<nothing>\""),
            std::string::npos);
}

TEST_F(TokenizerFile, TakesTheBeginningOfSequenceFromThePostProcessor) {
  const auto path = Changed("llama-3", [](nlohmann::json& json) {
    json["post_processor"] =
        nlohmann::json::parse(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type":
        "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A"}}]}]})");
  });
  const auto tokenizer = Tokenizer::FromJson(path);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->bos(), tokenizer->Encode("<|end|>")[0]);
}

TEST_F(TokenizerFile, SavesTheFilesOfAFolderByteForByte) {
  Changed("qwen2", [](nlohmann::json&) {});
  WriteConfig("{\"eos_token\":   \"<|end|>\"}");
  WriteFile(folder_ / "chat_template.jinja", "{{ messages }}");
  WriteFile(folder_ / "tokenizer.model", "SentencePiece's own");
  WriteFile(folder_ / "model.safetensors", "not a tokenizer file");
  Tokenizer::Open(folder_.path())->Save(folder_ / "out");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model"})
    EXPECT_EQ(ReadFile(folder_ / "out" / name), ReadFile(folder_ / name)) << name;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out" / "model.safetensors"));
}

TEST_F(TokenizerFile, WritesATokenizerThatReadsAsTheSame) {
  for (const char* family : {"gpt-2", "smollm2", "llama-3", "qwen2", "llama-2", "mistral", "gemma-3", "metaspace"}) {
    TokenizerSpec spec = ReadTokenizerJson(kFixtures / family / "tokenizer.json");
    spec.folder.reset();  // as if it came from GGUF
    spec.bos = spec.added[0].id;
    spec.adds_bos = true;
    const auto tokenizer = MakeTokenizer(spec);
    tokenizer->Save(folder_ / family);
    const TokenizerSpec again = ReadTokenizerJson(folder_ / family / "tokenizer.json");
    EXPECT_EQ(again.tokens, spec.tokens);
    EXPECT_EQ(again.merges, spec.merges);
    EXPECT_EQ(again.added, spec.added);
    EXPECT_EQ(again.normalizers, spec.normalizers);
    EXPECT_EQ(again.steps, spec.steps);
    EXPECT_EQ(again.decoders, spec.decoders);
    EXPECT_EQ(again.adds_bos, true);
    EXPECT_EQ(again.bos, spec.bos);
    EXPECT_EQ(MakeTokenizer(again)->Fingerprint(), tokenizer->Fingerprint());
  }
}

TEST(Tokenizer, FingerprintsWhatDecidesIds) {
  const TokenizerSpec spec = ReadTokenizerJson(kFixtures / "smollm2" / "tokenizer.json");
  const std::string fingerprint = MakeTokenizer(spec)->Fingerprint();
  EXPECT_EQ(fingerprint.size(), 64u);
  const auto changed = [&](const std::function<void(TokenizerSpec&)>& change) {
    TokenizerSpec other = spec;
    change(other);
    return MakeTokenizer(other)->Fingerprint() != fingerprint;
  };
  EXPECT_FALSE(changed([](TokenizerSpec& s) { s.eos = 0; }));
  EXPECT_FALSE(changed([](TokenizerSpec& s) { s.added[0].special = !s.added[0].special; }));
  EXPECT_TRUE(changed([](TokenizerSpec& s) { std::swap(s.merges[0], s.merges[1]); }));
  EXPECT_TRUE(changed([](TokenizerSpec& s) { s.steps.erase(s.steps.begin()); }));
  EXPECT_TRUE(changed([](TokenizerSpec& s) { s.normalizers.push_back({}); }));
  EXPECT_TRUE(changed([](TokenizerSpec& s) { s.added[0].lstrip = true; }));
  EXPECT_TRUE(changed([](TokenizerSpec& s) { s.tokens.back() += "x"; }));
}

// The post-processor of Llama-2 is <s> $A, that of Gemma <bos> $A; the added token in front of a text is none of
// theirs.
TEST(Tokenizer, StartsTextsOfSentencePieceKindWithTheirBeginningOfSequence) {
  for (const auto& [family, bos] : {std::pair{"llama-2", "<s>"}, {"mistral", "<s>"}, {"gemma-3", "<bos>"}}) {
    const auto tokenizer = Tokenizer::Open(kFixtures / family);
    EXPECT_TRUE(tokenizer->adds_bos()) << family;
    EXPECT_EQ(tokenizer->bos(), tokenizer->Encode(bos)[0]) << family;
  }
  EXPECT_FALSE(Tokenizer::Open(kFixtures / "metaspace")->adds_bos());
}

// Words are merged one by one where no token reaches across them, and only there. The first text is one word of
// SentencePiece; the merge a▁b of the second makes cutting wrong.
TEST(Tokenizer, MergesAcrossWordsWhereAVocabularyDoes) {
  TokenizerSpec spec;
  spec.origin = "test";
  spec.byte_fallback = true;
  spec.tokens = {"a", "b", "\u2581", "\u2581b", "\u2581\u2581"};
  spec.merges = {{2, 1, 3}, {2, 2, 4}};
  spec.normalizers = {{NormalizeStep::Kind::kReplace, " ", kSpaceMark}};
  EXPECT_EQ(MakeTokenizer(spec)->Encode("a b  b"), (std::vector<int32_t>{0, 3, 2, 3}));
  spec.tokens.push_back("a\u2581b");
  spec.merges.push_back({0, 3, 5});
  EXPECT_EQ(MakeTokenizer(spec)->Encode("a b  b"), (std::vector<int32_t>{5, 2, 3}));
}

TEST(Tokenizer, SaysWhatItCanOpen) {
  EXPECT_EQ(MessageOf([] { Tokenizer::Open("x.model"); }),
            "x.model: expected a folder with tokenizer.json, a tokenizer.json or a .gguf file");
  EXPECT_NE(MessageOf([] { Tokenizer::Open("."); }).find("tokenizer.json"), std::string::npos);
}

}  // namespace
}  // namespace espalier
