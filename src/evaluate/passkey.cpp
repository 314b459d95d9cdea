// A number hidden in a long text, asked for at its end (Mohtashami and Jaggi 2023, arXiv 2305.16300), over lengths and
// depths; with the loss of its digits, which tells small models apart long before they can say the number.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "answers.h"
#include "context.h"
#include "espalier/core/random.h"
#include "espalier/evaluate/bootstrap.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

constexpr uint64_t kKeyStream = 0x6b6579;
constexpr int64_t kGenerated = 12;  // tokens: room for five digits and a word before them

class Passkey final : public Evaluator {
 public:
  explicit Passkey(const Options& options)
      : context_(options),
        lengths_(options.IntList("lengths")),
        depths_(options.IntList("depths")),
        repeats_(options.Int("repeats")) {
    if (options.Has("haystack")) essay_ = options.Text("haystack");
  }

  std::string Id() const override { return "passkey" + context_.Suffix(); }
  std::vector<std::filesystem::path> Files() const override {
    return essay_ ? std::vector{*essay_} : std::vector<std::filesystem::path>();
  }
  std::vector<std::string> Figures(bool compared) const override { return AccuracyFigures(compared, {"answer_nll"}); }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const Haystack haystack(input.tokenizer, essay_);
    const std::vector<Question> questions = Questions(haystack);
    const std::vector<Answer> answers =
        AnswerQuestions(context_.Of(input.model), input.tokenizer, context_.PolicyOf(input.model), questions,
                        kGenerated, fmt::format("{} {}", input.model_name, Id()));
    std::vector<float> right, nll;
    for (size_t i = 0; i < questions.size(); ++i) {
      right.push_back(static_cast<float>(ShareFound(questions[i].expected, answers[i].text)));
      nll.push_back(static_cast<float>(answers[i].nll));
    }
    Results results;
    results.id = Id();
    results.suite = "passkey";
    results.model = input.model_name;
    results.protocol = {{"lengths", fmt::format("{}", fmt::join(lengths_, ", "))},
                        {"depths", fmt::format("{}", fmt::join(depths_, ", "))},
                        {"repeats", std::to_string(repeats_)},
                        {"haystack", haystack.name()},
                        {"haystack_sha256", haystack.sha256()},
                        {"answer", "five digits, greedy"},
                        {"tokenizer_sha256", input.tokenizer.Fingerprint()},
                        {"dtype", std::string(DtypeName(input.model.dtype()))},
                        {"interval", "95 %; shares: Wilson; others: bootstrap over prompts"}};
    for (auto& entry : context_.Entries()) results.protocol.push_back(std::move(entry));
    AddAccuracy(input, at::tensor(right), results);
    const Grid::Value mean = MeanValue(nll, false);
    results.metrics.push_back({"answer_nll", mean.value, "nats", mean.count, mean.low, mean.high, ""});
    results.grids.push_back(Cells("accuracy", "", right, true));
    results.grids.push_back(Cells("answer_nll", "nats", nll, false));
    return results;
  }

 private:
  // By length, depth, repeat.
  std::vector<Question> Questions(const Haystack& haystack) const {
    std::vector<Question> questions;
    for (const int64_t length : lengths_)
      for (const int64_t depth : depths_)
        for (int64_t repeat = 0; repeat < repeats_; ++repeat) {
          const auto item = static_cast<uint64_t>(questions.size());
          const std::string key = std::to_string(10000 + RandomBelow(90000, kKeyStream, 0, item));
          const PromptParts parts{
              "A pass key is hidden in the text below. Find it and keep it in mind: it is asked for at the end.\n\n",
              {{static_cast<double>(depth) / 100, fmt::format("\nThe pass key is {0}. Remember it: {0}.\n", key)}},
              "\n\nWhich pass key was hidden in the text? The pass key is",
              " " + key};
          questions.push_back(MakeQuestion(haystack, parts, length, item));
          questions.back().expected = {key};
        }
    return questions;
  }

  Grid Cells(const std::string& name, const std::string& unit, const std::vector<float>& values, bool share) const {
    Grid grid{name, unit, "length", "depth (%)", {}, {}, {}, ""};
    for (const int64_t depth : depths_) grid.columns.push_back(std::to_string(depth));
    auto from = values.begin();
    for (const int64_t length : lengths_) {
      grid.rows.push_back(std::to_string(length));
      grid.values.emplace_back();
      for (size_t column = 0; column < depths_.size(); ++column, from += repeats_)
        grid.values.back().push_back(MeanValue({from, from + repeats_}, share));
    }
    return grid;
  }

  ContextChange context_;
  std::vector<int64_t> lengths_, depths_;
  int64_t repeats_;
  std::optional<std::filesystem::path> essay_;
};

std::vector<OptionSpec> PasskeyOptions() {
  std::vector<OptionSpec> specs = {
      IntListOption("lengths", std::vector<int64_t>{512, 1024, 2048}, "Tokens of the prompts").Between(64, 1 << 20),
      IntListOption("depths", std::vector<int64_t>{0, 25, 50, 75, 100}, "Where the key stands, percent of the text")
          .Between(0, 100),
      IntOption("repeats", 4, "Prompts of each length and depth, with other keys and texts").Between(1, 10000),
      TextOption("haystack", std::nullopt, "Text file to hide the key in; default: sentences that say nothing")
          .Optional()};
  for (OptionSpec& spec : ContextOptions()) specs.push_back(std::move(spec));
  return specs;
}

const bool kRegistered = Registry<Evaluator>::Register(
    {"passkey",
     "A number hidden in a long text and asked for: by generation and by the loss of its digits, lengths x depths",
     "Mohtashami and Jaggi 2023, arXiv 2305.16300; our own texts",
     {},
     PasskeyOptions()},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<Passkey>(options); });

}  // namespace
}  // namespace espalier
