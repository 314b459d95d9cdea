// Variables that are assigned to each other over the text: which of them hold a value (RULER's variable tracking).
#include <fmt/format.h>

#include "context_task.h"
#include "espalier/core/random.h"

namespace espalier {
namespace {

constexpr uint64_t kStream = 0x76617273;
constexpr int64_t kHops = 4;

class Variables final : public ContextTask {
 public:
  int64_t Generated() const override { return 40; }

  Question Make(const Haystack& haystack, int64_t length, uint64_t item) const override {
    const std::string value = std::to_string(10000 + RandomBelow(90000, kStream, item, 0));
    PromptParts parts;
    parts.opening = "Variables are assigned in the text below. Follow them: they are asked for at the end.\n\n";
    std::vector<std::string> names;
    for (int64_t hop = 0; hop <= kHops; ++hop) {
      names.push_back(Name(item, hop));
      const std::string assigned = hop == 0 ? value : "VAR " + names[static_cast<size_t>(hop - 1)];
      // Each in its own stretch, so that an assignment never stands before what it copies.
      const double depth =
          (static_cast<double>(hop) + RandomUnit(kStream + 1, item, static_cast<uint64_t>(hop))) / (kHops + 1);
      parts.needles.emplace_back(depth, fmt::format("\nVAR {} = {}\n", names.back(), assigned));
    }
    parts.closing = fmt::format("\n\nWhich {} variables hold the value {}? The variables that hold the value {} are",
                                kHops + 1, value, value);
    Question question = MakeQuestion(haystack, parts, length, item);
    question.expected = std::move(names);
    return question;
  }

 private:
  static std::string Name(uint64_t item, int64_t hop) {
    std::string name;
    for (uint64_t letter = 0; letter < 5; ++letter)
      name += static_cast<char>('A' + RandomBelow(26, kStream + 2, item, static_cast<uint64_t>(hop) * 5 + letter));
    return name;
  }
};

const bool kRegistered = Registry<ContextTask>::Register(
    {"variable_tracking", "Which variables hold a value after four assignments", "RULER, arXiv 2404.06654", {}, {}},
    [](const Options&) -> std::unique_ptr<ContextTask> { return std::make_unique<Variables>(); });

}  // namespace
}  // namespace espalier
