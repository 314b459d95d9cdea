#include "espalier/evaluate/preset.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "../../src/evaluate/wikitext_pages.h"
#include "espalier/core/json.h"
#include "support/letter_tokenizer.h"
#include "support/support.h"

namespace espalier {
namespace {

class Preset : public testing::Test {
 protected:
  Corpus TextOf(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return ReadCorpus({folder_ / name, 0, std::nullopt});
  }
  static ScoredText Prepare(const std::string& preset, const Corpus& corpus, const PresetOptions& options,
                            const Tokenizer& tokenizer = LetterTokenizer(64)) {
    return Registry<PerplexityPreset>::Create(preset)->Prepare(tokenizer, corpus, options);
  }
  TempFolder folder_;
};

using Windows = std::vector<ScoredWindow>;

TEST(RollingWindows, ScoreEachTokenOnceWithAsMuchContextAsFits) {
  // The prefix at place 0, ten tokens at 1 to 10, windows of 4: as lm-eval's get_rolling_token_windows(tokens, prefix,
  // 4, 1) has them. Inputs: prefix and 1-3; 4-7; the last one reaches back for its two tokens: 6-9 score 9 and 10.
  EXPECT_EQ(RollingWindows(10, 4), (Windows{{0, 5, 1}, {4, 9, 5}, {6, 11, 9}}));
  EXPECT_EQ(RollingWindows(4, 4), (Windows{{0, 5, 1}}));
  EXPECT_EQ(RollingWindows(3, 4), (Windows{{0, 4, 1}}));
  EXPECT_EQ(RollingWindows(0, 4), Windows());
}

TEST_F(Preset, LlamaCppScoresTheSecondHalfOfEachChunkAndPutsBosOverItsFirstToken) {
  const Corpus corpus = TextOf("text.raw", "abcdefghijklmnopqrst\n");
  const PresetOptions options{.window = 8};
  const ScoredText plain = Prepare("llama.cpp", corpus, options);
  EXPECT_EQ(plain.ids.size(0), 20);  // without the newline at the end
  EXPECT_EQ(plain.windows, (Windows{{0, 8, 5}, {8, 16, 13}}));
  EXPECT_EQ(plain.bos, "none");
  // n_ctx - 1 - n_ctx / 2 predictions a chunk.
  EXPECT_EQ(plain.windows[0].end - plain.windows[0].first_scored, 8 - 1 - 8 / 2);
  const LetterTokenizer with_bos(64, /*adds_bos=*/true);
  const ScoredText bos = Prepare("llama.cpp", corpus, options, with_bos);
  EXPECT_EQ(bos.ids.size(0), 21);
  EXPECT_EQ(bos.ids[0].item<int64_t>(), *with_bos.bos());
  EXPECT_EQ(bos.ids[8].item<int64_t>(), *with_bos.bos());
}

TEST_F(Preset, LmEvalScoresEachPageByItselfAfterAPrefix) {
  const Corpus corpus = TextOf("pages.raw", " \n = One = \n \n a , b \n = = Part = = \n c \n = Two = \n \n d ( e ) \n");
  const LetterTokenizer tokenizer(64, /*adds_bos=*/true);
  const ScoredText text = Prepare("lm-eval", corpus, {.window = 6}, tokenizer);
  ASSERT_EQ(text.documents.numel(), 2);  // the title of a part starts no page
  EXPECT_EQ(text.ids[0].item<int64_t>(), *tokenizer.bos());
  int64_t scored = 0;
  for (const ScoredWindow& window : text.windows) scored += window.end - window.first_scored;
  EXPECT_EQ(scored, text.ids.size(0) - 2);  // all but the two prefixes
  EXPECT_GT(text.documents[1].item<int64_t>(), 0);
  EXPECT_EQ(*text.bytes, std::ssize(std::string(" = One = \n \n a , b \n = = Part = = \n c ")) +
                             std::ssize(std::string(" = Two = \n \n d ( e ) \n")));
}

TEST(PresetOptions, ThatContradictTheProtocolAreRefused) {
  EXPECT_THROW(Registry<PerplexityPreset>::Create("gptq-2048")->Check({.window = 512}), RecipeError);
  EXPECT_THROW(Registry<PerplexityPreset>::Create("llama.cpp")->Check({.window = 511}), RecipeError);
  EXPECT_THROW(Registry<PerplexityPreset>::Create("strided")->Check({.window = 512, .stride = 512}), RecipeError);
}

TEST(Wikitext, IsDetokenizedAsLmEvalDoesIt) {
  const Json cases = ReadJson(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/evaluate/fixtures/wikitext.json");
  ASSERT_EQ(cases.size(), 300u);
  for (const Json& one : cases) {
    const auto page = one.at("page").get<std::string>();
    EXPECT_EQ(WikitextDetokenize(page), one.at("plain").get<std::string>()) << page;
    EXPECT_EQ(CountWords(page), one.at("words").get<int64_t>()) << page;
    EXPECT_EQ(std::ssize(page), one.at("bytes").get<int64_t>());
  }
}

TEST(Wikitext, TestSetHasSixtyTwoPages) {
  const Corpus corpus = ReadCorpus({DataPath("wikitext-2/wiki.test.raw"), 0, std::nullopt});
  const std::vector<std::string> pages = WikitextPages(corpus.documents.at(0));
  EXPECT_EQ(pages.size(), 62u);
  EXPECT_TRUE(pages[0].starts_with(" = Robert Boulter = \n"));
}

}  // namespace
}  // namespace espalier
