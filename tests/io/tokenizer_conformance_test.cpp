// Ids that PyPI tokenizers and sentencepiece give; scripts/make_tokenizer_fixture.py made them.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/io/text.h"
#include "espalier/io/tokenizer.h"
#include "support/support.h"

namespace espalier {
namespace {

const std::filesystem::path kFixtures = ESPALIER_SOURCE_DIR "/tests/io/fixtures/tokenizer";

void ExpectFixtureIds(const std::filesystem::path& opened, const std::filesystem::path& texts_file) {
  const auto tokenizer = Tokenizer::Open(opened);
  const auto texts = ReadJson(texts_file).get<std::vector<std::string>>();
  const std::filesystem::path folder = is_directory(opened) ? opened : opened.parent_path();
  const auto ids = ReadJson(folder / "ids.json").get<std::vector<std::vector<int32_t>>>();
  ASSERT_EQ(texts.size(), ids.size());
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(tokenizer->Encode(texts[i]), ids[i]) << Json(texts[i]).dump();
}

class TokenizerFamily_ : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerFamily_, GivesTheIdsOfPyPiTokenizers) {
  ExpectFixtureIds(kFixtures / GetParam(), kFixtures / "texts.json");
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerFamily_, testing::Values("gpt-2", "smollm2", "llama-3", "qwen2"));

const std::filesystem::path kSentencePieceTexts = kFixtures / "sentencepiece-texts.json";

class SentencePieceTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(SentencePieceTokenizer, GivesTheIdsOfPyPiTokenizers) {
  ExpectFixtureIds(kFixtures / GetParam(), kSentencePieceTexts);
}

TEST_P(SentencePieceTokenizer, DecodesAsPyPiTokenizersDoes) {
  const auto tokenizer = Tokenizer::Open(kFixtures / GetParam());
  const Json cases = ReadJson(kFixtures / GetParam() / "decoded.json");
  ASSERT_GT(cases.size(), 100u);
  for (const Json& one : cases)
    EXPECT_EQ(tokenizer->Decode(one[0].get<std::vector<int32_t>>()), one[1].get<std::string>()) << one.dump();
}

// "metaspace" has what the three families leave out: Digits, cuts, unknown characters, ignore_merges.
INSTANTIATE_TEST_SUITE_P(All, SentencePieceTokenizer, testing::Values("llama-2", "mistral", "gemma-3", "metaspace"));

class SentencePieceGguf : public testing::TestWithParam<std::string> {};

TEST_P(SentencePieceGguf, GivesTheIdsOfTheSentencePieceLibrary) {
  ExpectFixtureIds(kFixtures / GetParam() / "model.gguf", kSentencePieceTexts);
}

TEST_P(SentencePieceGguf, DecodesWhatItEncoded) {
  const auto tokenizer = Tokenizer::Open(kFixtures / GetParam() / "model.gguf");
  size_t count = 0;
  for (const std::string& text : ReadJson(kSentencePieceTexts).get<std::vector<std::string>>()) {
    // A mark reads as a space, and a text of <0x0A> as that byte; behind a special token the space in front stays.
    if (text.find_first_of("<[") != text.npos || text.find("\u2581") != text.npos) continue;
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
    ++count;
  }
  EXPECT_GT(count, 40u);
}

// `make_tokenizer_fixture.py saved` found that PyPI tokenizers and transformers read saved.json to the ids of the
// sentencepiece library.
TEST_P(SentencePieceGguf, SavesTheTokenizerJsonThatWasFoundToGiveTheSameIds) {
  const TempFolder folder;
  Tokenizer::Open(kFixtures / GetParam() / "model.gguf")->Save(folder.path());
  EXPECT_EQ(ReadJson(folder / "tokenizer.json"), ReadJson(kFixtures / GetParam() / "saved.json"));
}

INSTANTIATE_TEST_SUITE_P(All, SentencePieceGguf, testing::Values("llama-2-gguf", "gemma-3-gguf"));

// A developer's check of several minutes' worth of texts; the script's mode "full" writes the file.
TEST(TokenizerConformance, AgreesOnEveryTextOfTheFullComparison) {
  const std::filesystem::path cases = ESPALIER_SOURCE_DIR "/build/tokenizer-conformance/cases.jsonl";
  if (!std::filesystem::exists(cases)) GTEST_SKIP() << "run scripts/make_tokenizer_fixture.py full";
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  std::ifstream file(cases);
  std::string line;
  size_t count = 0, different = 0;
  while (std::getline(file, line)) {
    const auto one = nlohmann::json::parse(line);
    const std::string path = one["tokenizer"];
    auto& tokenizer = tokenizers[path];
    if (!tokenizer) tokenizer = Tokenizer::Open(path.front() == '/' ? path : ESPALIER_SOURCE_DIR "/" + path);
    ++count;
    if (tokenizer->Encode(one["text"].get_ref<const std::string&>()) == one["ids"].get<std::vector<int32_t>>())
      continue;
    if (++different <= 10) ADD_FAILURE() << path << ": " << one["text"].dump().substr(0, 600);
  }
  EXPECT_EQ(different, 0u) << "of " << count;
  RecordProperty("texts", static_cast<int>(count));
}

}  // namespace
}  // namespace espalier
