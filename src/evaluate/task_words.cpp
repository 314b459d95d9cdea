// Long lists of words: which are the most frequent ones (RULER's common and frequent words). The list is the context.
#include <fmt/format.h>

#include "context_task.h"
#include "espalier/core/error.h"
#include "espalier/core/random.h"

namespace espalier {
namespace {

constexpr uint64_t kStream = 0x776f7264;

// A list made of rounds: words 0 .. counts.size() - 1 stand counts[i] times in each, and `others` more words, which go
// round, once.
struct Shape {
  std::vector<int64_t> counts;
  int64_t others, others_in_all;
  bool invented;  // words without meaning
  std::string closing;
};

std::string Invented(uint64_t item, uint64_t index) {
  constexpr std::string_view kConsonants = "bdfgklmnprstvz", kVowels = "aeiou";
  std::string word;
  for (uint64_t i = 0; i < 3; ++i) {
    const uint64_t draw = index * 6 + 2 * i;
    word += kConsonants[RandomBelow(kConsonants.size(), kStream, item, draw)];
    word += kVowels[RandomBelow(kVowels.size(), kStream, item, draw + 1)];
  }
  return word;
}

class Words final : public ContextTask {
 public:
  explicit Words(Shape shape) : shape_(std::move(shape)) {}

  int64_t Generated() const override { return 12 + 5 * std::ssize(shape_.counts); }

  Question Make(const Haystack& haystack, int64_t length, uint64_t item) const override {
    const Tokenizer& tokenizer = haystack.tokenizer();
    const PromptParts frame{
        "Below is a long list of words, in which some stand more often than others. They are asked for at the end.\n\n",
        {},
        "\n\n" + shape_.closing,
        ""};
    const int64_t around =
        std::ssize(EncodeIds(tokenizer, frame.opening)) + std::ssize(EncodeIds(tokenizer, frame.closing)) + 1;
    PromptParts parts = frame;
    parts.needles.emplace_back(0, List(tokenizer, length - around, item));
    Question question = MakeQuestion(haystack, parts, length, item);
    for (size_t i = 0; i < shape_.counts.size(); ++i) question.expected.push_back(Word(item, static_cast<int64_t>(i)));
    return question;
  }

 private:
  std::string Word(uint64_t item, int64_t index) const {
    if (shape_.invented) return Invented(item, static_cast<uint64_t>(index));
    return std::string(CommonWord(static_cast<uint64_t>(
        RandomOrder(static_cast<int64_t>(CommonWords()), kStream + 1, item)[static_cast<size_t>(index)])));
  }

  // As many whole rounds as fit into `room` tokens.
  std::string List(const Tokenizer& tokenizer, int64_t room, uint64_t item) const {
    std::string list;
    for (uint64_t round = 0;; ++round) {
      const std::string longer = list + Round(item, round);
      if (std::ssize(EncodeIds(tokenizer, longer)) > room) break;
      list = longer;
    }
    if (list.empty())
      throw RecipeError(fmt::format("a list of words in {} tokens: not one round fits; ask for a longer length", room));
    return list;
  }

  std::string Round(uint64_t item, uint64_t round) const {
    std::vector<int64_t> words;
    for (size_t i = 0; i < shape_.counts.size(); ++i)
      words.insert(words.end(), static_cast<size_t>(shape_.counts[i]), static_cast<int64_t>(i));
    for (int64_t i = 0; i < shape_.others; ++i)
      words.push_back(std::ssize(shape_.counts) +
                      (static_cast<int64_t>(round) * shape_.others + i) % shape_.others_in_all);
    std::string text;
    for (const int64_t place : RandomOrder(std::ssize(words), kStream + 2 + round, item))
      text += " " + Word(item, words[static_cast<size_t>(place)]);
    return text;
  }

  Shape shape_;
};

bool RegisterWords(const std::string& name, const std::string& summary, const Shape& shape) {
  return Registry<ContextTask>::Register(
      {name, summary, "RULER, arXiv 2404.06654", {}, {}},
      [shape](const Options&) -> std::unique_ptr<ContextTask> { return std::make_unique<Words>(shape); });
}
const bool kCommon = RegisterWords("common_words", "The ten words of a list that stand in it most often",
                                   {std::vector<int64_t>(10, 2), 10, 140, false,
                                    "Which ten words stand in the list most often? The ten most frequent words are"});
const bool kFrequent = RegisterWords(
    "frequent_words", "The three most frequent of many words without meaning",
    {{6, 4, 3}, 7, 60, true, "Which three words stand in the list most often? The three most frequent words are"});

}  // namespace
}  // namespace espalier
