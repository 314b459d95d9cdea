// Ids that PyPI tokenizers gives; scripts/make_tokenizer_fixture.py made them.
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

void ExpectFixtureIds(const Tokenizer& tokenizer, const std::filesystem::path& expected) {
  const auto texts = ReadJson(kFixtures / "texts.json").get<std::vector<std::string>>();
  const auto ids = ReadJson(expected).get<std::vector<std::vector<int32_t>>>();
  ASSERT_EQ(texts.size(), ids.size());
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(tokenizer.Encode(texts[i]), ids[i]) << Json(texts[i]).dump();
}

class TokenizerFamily_ : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerFamily_, GivesTheIdsOfPyPiTokenizers) {
  const auto tokenizer = Tokenizer::Open(kFixtures / GetParam());
  ExpectFixtureIds(*tokenizer, kFixtures / GetParam() / "ids.json");
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerFamily_, testing::Values("gpt-2", "smollm2", "llama-3", "qwen2"));

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
