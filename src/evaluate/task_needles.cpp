// Needles in a haystack: words with a number each, some of which are asked for (RULER's niah family).
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "context_task.h"
#include "espalier/core/random.h"

namespace espalier {
namespace {

constexpr uint64_t kStream = 0x6e656564;

struct Shape {
  int64_t keys, values, asked;  // words; numbers of each; words that are asked for
};

class Needles final : public ContextTask {
 public:
  explicit Needles(const Shape& shape) : shape_(shape) {}

  int64_t Generated() const override { return 16 + 12 * shape_.asked * shape_.values; }

  Question Make(const Haystack& haystack, int64_t length, uint64_t item) const override {
    const std::vector<int64_t> words = RandomOrder(static_cast<int64_t>(CommonWords()), kStream, item);
    PromptParts parts;
    parts.opening = "Some words in the text below have numbers. Keep them in mind: they are asked for at the end.\n\n";
    std::vector<std::string> expected, asked;
    uint64_t draw = 0;
    for (int64_t k = 0; k < shape_.keys; ++k) {
      const std::string word(CommonWord(static_cast<uint64_t>(words[static_cast<size_t>(k)])));
      if (k < shape_.asked) asked.push_back(word);
      for (int64_t v = 0; v < shape_.values; ++v) {
        const std::string number = std::to_string(100000 + RandomBelow(900000, kStream, item, draw++));
        parts.needles.emplace_back(RandomUnit(kStream + 1, item, draw),
                                   fmt::format("\nA number of the word {} is {}.\n", word, number));
        if (k < shape_.asked) expected.push_back(number);
      }
    }
    const std::string names = fmt::format("{}", fmt::join(asked, ", "));
    parts.closing =
        expected.size() == 1
            ? fmt::format("\n\nWhich number of the word {0} stands in the text? The number of the word {0} is", names)
            : fmt::format("\n\nWhich {} numbers of {} stand in the text? The numbers of {} are", expected.size(), names,
                          names);
    Question question = MakeQuestion(haystack, parts, length, item);
    question.expected = std::move(expected);
    return question;
  }

 private:
  Shape shape_;
};

bool RegisterNeedles(const std::string& name, const std::string& summary, const Shape& shape) {
  return Registry<ContextTask>::Register(
      {name, summary, "RULER, arXiv 2404.06654", {}, {}},
      [shape](const Options&) -> std::unique_ptr<ContextTask> { return std::make_unique<Needles>(shape); });
}
const bool kSingle = RegisterNeedles("niah_single", "One word with a number", {1, 1, 1});
const bool kMultiKey = RegisterNeedles("niah_multikey", "Four words with a number each, one is asked for", {4, 1, 1});
const bool kMultiValue = RegisterNeedles("niah_multivalue", "One word with four numbers, all are asked for", {1, 4, 1});
const bool kMultiQuery =
    RegisterNeedles("niah_multiquery", "Four words with a number each, all are asked for", {4, 1, 4});

}  // namespace
}  // namespace espalier
