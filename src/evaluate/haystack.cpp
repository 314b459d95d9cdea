#include "haystack.h"

#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/hash.h"
#include "espalier/core/random.h"
#include "espalier/io/text.h"

namespace espalier {
namespace {

constexpr uint64_t kFillerStream = 0x66696c6c;
constexpr int64_t kSentences = 512;  // drawn once; longer fillers go round

// Sentences in which nothing is to be found.
constexpr std::string_view kNothing[] = {"The road goes on between the fields.",
                                         "Clouds pass over the hills in the afternoon.",
                                         "A dog lies in front of the door.",
                                         "The train stops at every small station.",
                                         "Bread is sold at the corner of the square.",
                                         "In winter the lake is quiet and grey.",
                                         "Two boats lie on the sand.",
                                         "The wind turns to the west in the evening.",
                                         "Somebody has left a lamp in the window.",
                                         "Apples are ripe when the nights grow cold.",
                                         "The old bridge was built of stone.",
                                         "Children walk home along the river."};

std::string NothingText() {
  std::string text;
  for (int64_t i = 0; i < kSentences; ++i) {
    text += kNothing[RandomBelow(std::size(kNothing), kFillerStream, 0, static_cast<uint64_t>(i))];
    text += i % 6 == 5 ? "\n" : " ";
  }
  return text;
}

void Append(std::vector<int64_t>& ids, const std::vector<int64_t>& more) {
  ids.insert(ids.end(), more.begin(), more.end());
}

}  // namespace

std::vector<int64_t> EncodeIds(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int32_t> ids = tokenizer.Encode(text);
  return {ids.begin(), ids.end()};
}

Haystack::Haystack(const Tokenizer& tokenizer, const std::optional<std::filesystem::path>& essay)
    : tokenizer_(tokenizer), name_(essay ? essay->filename().string() : "sentences") {
  std::string text;
  if (essay) {
    for (const std::string& document : ReadCorpus({*essay, 0, std::nullopt}).documents) text += document + "\n";
  } else {
    text = NothingText();
  }
  sha256_ = HashText(text);
  ids_ = tokenizer.Encode(text);
  if (ids_.empty()) throw IoError(fmt::format("{}: no tokens to hide anything in", name_));
}

std::vector<int64_t> Haystack::Filler(int64_t tokens, uint64_t item) const {
  const auto start = static_cast<int64_t>(RandomBelow(ids_.size(), kFillerStream, 1, item));
  std::vector<int64_t> filler;
  for (int64_t i = 0; i < tokens; ++i) filler.push_back(ids_[static_cast<size_t>((start + i) % std::ssize(ids_))]);
  return filler;
}

Question MakeQuestion(const Haystack& haystack, const PromptParts& parts, int64_t length, uint64_t item) {
  const Tokenizer& tokenizer = haystack.tokenizer();
  std::vector<int64_t> opening;
  if (tokenizer.adds_bos() && tokenizer.bos()) opening.push_back(*tokenizer.bos());
  Append(opening, EncodeIds(tokenizer, parts.opening));
  // The answer's ids are those that its text gets where it stands.
  std::vector<int64_t> closing = EncodeIds(tokenizer, parts.closing);
  const std::vector<int64_t> answered = EncodeIds(tokenizer, parts.closing + parts.answer);
  const auto [end, rest] = std::ranges::mismatch(closing, answered);
  Question question{{}, {rest, answered.end()}, {}};
  if (parts.answer.empty()) question.answer.clear();
  closing.erase(end, closing.end());

  std::vector<std::pair<double, std::vector<int64_t>>> needles;
  int64_t fixed = std::ssize(opening) + std::ssize(closing);
  for (const auto& [depth, text] : parts.needles) {
    needles.emplace_back(depth, EncodeIds(tokenizer, text));
    fixed += std::ssize(needles.back().second);
  }
  if (fixed > length)
    throw RecipeError(
        fmt::format("a length of {} tokens: question and needles alone take {}; ask for longer ones", length, fixed));
  std::ranges::stable_sort(needles, {}, [](const auto& needle) { return needle.first; });
  const std::vector<int64_t> filler = haystack.Filler(length - fixed, item);
  question.prompt = std::move(opening);
  auto from = filler.begin();
  for (const auto& [depth, ids] : needles) {
    const auto to = filler.begin() + static_cast<int64_t>(depth * static_cast<double>(filler.size()));
    question.prompt.insert(question.prompt.end(), from, to);
    Append(question.prompt, ids);
    from = to;
  }
  question.prompt.insert(question.prompt.end(), from, filler.end());
  Append(question.prompt, closing);
  return question;
}

}  // namespace espalier
