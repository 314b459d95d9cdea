#include "espalier/calibrate/windows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "espalier/io/tensors.h"
#include "support/letter_tokenizer.h"
#include "support/support.h"

namespace espalier {
namespace {

const LetterTokenizer kLetters(256);

Corpus Documents(std::vector<std::string> documents) {
  Corpus corpus;
  corpus.source.path = "text.txt";
  corpus.documents = std::move(documents);
  return corpus;
}

std::string Joined(const at::Tensor& windows) {
  std::string text;
  const at::Tensor flat = windows.flatten();
  for (int64_t i = 0; i < flat.size(0); ++i) text += static_cast<char>(flat[i].item<int64_t>());
  return text;
}

TEST(PackWindows, CutsOneDocumentIntoConsecutiveWindowsAndDropsTheRest) {
  const at::Tensor windows = PackWindows(kLetters, Documents({"abcdefgh"}), 0, 3, 1);
  EXPECT_EQ(windows.sizes(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(windows.scalar_type(), at::kLong);
  EXPECT_EQ(Joined(windows), "abcdef");
  EXPECT_EQ(Joined(PackWindows(kLetters, Documents({"abcdefgh"}), 1, 3, 1)), "abc");
}

TEST(PackWindows, JoinsDocumentsByTwoNewlinesInAnOrderOfTheSeed) {
  const Corpus corpus = Documents({"aa", "bb", "cc", "dd"});
  std::set<std::string> orders;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const std::string text = Joined(PackWindows(kLetters, corpus, 0, 14, seed));  // 4 * 2 + 3 * 2
    EXPECT_EQ(text, Joined(PackWindows(kLetters, corpus, 0, 14, seed)));
    orders.insert(text);
    EXPECT_EQ(text.substr(2, 2), "\n\n");
    EXPECT_EQ(text.substr(6, 2), "\n\n");
    std::string letters = text;
    std::sort(letters.begin(), letters.end());
    EXPECT_EQ(letters, "\n\n\n\n\n\naabbccdd");
  }
  EXPECT_GT(orders.size(), 3u);
}

TEST(SpreadWindows, DrawsDifferentWindowsOfTheWholeTextByTheSeed) {
  const Corpus corpus = Documents({"abcdefghijklmnopqrstuvwxyz"});
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const at::Tensor windows = SpreadWindows(kLetters, corpus, 3, 2, seed);
    EXPECT_EQ(windows.sizes(), (std::vector<int64_t>{3, 2}));
    const std::string text = Joined(windows);
    EXPECT_EQ(text, Joined(SpreadWindows(kLetters, corpus, 3, 2, seed)));
    for (size_t at = 0; at < text.size(); at += 2) {  // windows begin at a, c, e, ...
      EXPECT_EQ((text[at] - 'a') % 2, 0);
      EXPECT_EQ(text[at + 1], text[at] + 1);
      seen.insert(text.substr(at, 2));
    }
    EXPECT_EQ(std::set<char>(text.begin(), text.end()).size(), 6u);
  }
  EXPECT_GT(seen.size(), 10u);  // of 13
}

TEST(SpreadWindows, SaysHowManyThereAreWhenTheTextIsTooShort) {
  EXPECT_EQ(MessageOf([] {
              SpreadWindows(kLetters, Documents({"abcd", "ef"}), 3, 4, 0);
            }),
            "text.txt: 2 windows of 4 tokens in 2 documents, expected at least 3; use more documents or ask for fewer");
}

TEST(PackWindows, SaysHowManyTokensThereAreWhenTheTextIsTooShort) {
  EXPECT_EQ(MessageOf([] {
              PackWindows(kLetters, Documents({"abcd", "ef"}), 3, 4, 0);
            }),
            "text.txt: 8 tokens in 2 documents, expected at least 12 (3 sequences of 4); use more documents or ask for "
            "fewer");
  EXPECT_THROW(PackWindows(kLetters, Documents({"abc"}), 0, 4, 0), RecipeError);
  EXPECT_NO_THROW(PackWindows(kLetters, Documents({"abcd"}), 0, 4, 0));
}

TEST(WindowsOfIds, AreTheConsecutiveOnesOfTheFile) {
  const TempFolder folder;
  const auto saved = [&](const at::Tensor& ids) {
    SaveTensors(folder / "a.safetensors", {{"ids", ids}});
    return folder / "a.safetensors";
  };
  const at::Tensor windows = WindowsOfIds(saved(at::arange(11, at::kInt)), 4, 11);
  EXPECT_TRUE(at::equal(windows, at::arange(8, at::kLong).view({2, 4})));
  EXPECT_TRUE(at::equal(WindowsOfIds(saved(at::arange(12, at::kLong).view({2, 6})), 4, 12),
                        at::arange(12, at::kLong).view({3, 4})));
  const auto message = [&](const at::Tensor& ids) { return MessageOf([&] { WindowsOfIds(saved(ids), 4, 11); }); };
  EXPECT_NE(message(at::arange(3, at::kInt)).find("3 ids, expected at least one window of 4"), std::string::npos);
  EXPECT_NE(message(at::arange(4, at::kInt) - 1).find("id 0 is -1, expected 0 to 10"), std::string::npos);
  EXPECT_NE(message(at::ones({8})).find("expected a tensor 'ids' of int32 or int64"), std::string::npos);
}

TEST(TextSource, ComesFromTheRecipe) {
  const TextSource whole = TextSourceFrom(Options(TextSourceOptions(), {{"path", std::string("a.txt")}}, "test"));
  EXPECT_EQ(whole.path, "a.txt");
  EXPECT_EQ(whole.first_document, 0);
  EXPECT_FALSE(whole.last_document);
  const TextSource part = TextSourceFrom(
      Options(TextSourceOptions(),
              {{"path", std::string("a.txt")}, {"first_document", int64_t{2}}, {"last_document", int64_t{5}}}, "test"));
  EXPECT_EQ(part.first_document, 2);
  EXPECT_EQ(part.last_document, 5);
}

}  // namespace
}  // namespace espalier
