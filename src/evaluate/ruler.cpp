// Synthetic tasks over a long context by length: the share of what is expected that the answers hold (RULER, Hsieh et
// al. 2024, arXiv 2404.06654, the tasks that need no data; our own texts, so its figures are not the paper's).
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "answers.h"
#include "context.h"
#include "context_task.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

class Ruler final : public Evaluator {
 public:
  explicit Ruler(const Options& options)
      : context_(options),
        names_(options.TextList("tasks")),
        lengths_(options.IntList("lengths")),
        repeats_(options.Int("repeats")) {
    for (const std::string& name : names_) tasks_.push_back(Registry<ContextTask>::Create(name));
    if (options.Has("haystack")) essay_ = options.Text("haystack");
  }

  std::string Id() const override { return "ruler" + context_.Suffix(); }
  std::vector<std::filesystem::path> Files() const override {
    return essay_ ? std::vector{*essay_} : std::vector<std::filesystem::path>();
  }
  std::vector<std::string> Figures(bool compared) const override { return AccuracyFigures(compared, {}); }

  Results Run(const EvaluationInput& input) const override {
    CheckTokenizer(input.tokenizer, input.model);
    const Haystack haystack(input.tokenizer, essay_);
    const std::vector<float> scores = Scores(input, haystack);
    Results results;
    results.id = Id();
    results.suite = "ruler";
    results.model = input.model_name;
    results.protocol = {{"tasks", fmt::format("{}", fmt::join(names_, ", "))},
                        {"lengths", fmt::format("{}", fmt::join(lengths_, ", "))},
                        {"repeats", std::to_string(repeats_)},
                        {"haystack", haystack.name()},
                        {"haystack_sha256", haystack.sha256()},
                        {"answer", "greedy, share of what is expected"},
                        {"tokenizer_sha256", input.tokenizer.Fingerprint()},
                        {"dtype", std::string(DtypeName(input.model.dtype()))},
                        {"interval", "95 %, bootstrap over prompts, Wilson where each is right or wrong"}};
    for (auto& entry : context_.Entries()) results.protocol.push_back(std::move(entry));
    AddAccuracy(input, at::tensor(scores), results);
    results.grids.push_back(ByTaskAndLength(scores));
    return results;
  }

 private:
  // By task, length, repeat.
  std::vector<float> Scores(const EvaluationInput& input, const Haystack& haystack) const {
    std::vector<std::vector<Question>> questions;  // all are made before any work, as a length may be too short
    for (const auto& task : tasks_) {
      questions.emplace_back();
      for (const int64_t length : lengths_)
        for (int64_t repeat = 0; repeat < repeats_; ++repeat)
          questions.back().push_back(task->Make(haystack, length, questions.back().size()));
    }
    std::vector<float> scores;
    for (size_t t = 0; t < tasks_.size(); ++t) {
      const std::vector<Answer> answers =
          AnswerQuestions(context_.Of(input.model), input.tokenizer, context_.PolicyOf(input.model), questions[t],
                          tasks_[t]->Generated(), fmt::format("{} {} {}", input.model_name, Id(), names_[t]));
      for (size_t i = 0; i < answers.size(); ++i)
        scores.push_back(static_cast<float>(ShareFound(questions[t][i].expected, answers[i].text)));
    }
    return scores;
  }

  Grid ByTaskAndLength(const std::vector<float>& scores) const {
    Grid grid{"accuracy", "", "task", "length", names_, {}, {}, ""};
    for (const int64_t length : lengths_) grid.columns.push_back(std::to_string(length));
    auto from = scores.begin();
    for (size_t t = 0; t < names_.size(); ++t) {
      grid.values.emplace_back();
      for (size_t l = 0; l < lengths_.size(); ++l, from += repeats_)
        grid.values.back().push_back(MeanValue({from, from + repeats_}, true));
    }
    return grid;
  }

  ContextChange context_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<ContextTask>> tasks_;
  std::vector<int64_t> lengths_;
  int64_t repeats_;
  std::optional<std::filesystem::path> essay_;
};

std::vector<OptionSpec> RulerOptions() {
  std::vector<OptionSpec> specs = {
      TextListOption("tasks",
                     std::vector<std::string>{"niah_single", "niah_multikey", "niah_multivalue", "niah_multiquery",
                                              "variable_tracking", "common_words", "frequent_words"},
                     "Which tasks: espalier list \"context task\""),
      IntListOption("lengths", std::vector<int64_t>{512, 1024, 2048}, "Tokens of the prompts").Between(128, 1 << 20),
      IntOption("repeats", 4, "Prompts of each task and length").Between(1, 10000),
      TextOption("haystack", std::nullopt, "Text file to hide things in; default: sentences that say nothing")
          .Optional()};
  for (OptionSpec& spec : ContextOptions()) specs.push_back(std::move(spec));
  return specs;
}

const bool kRegistered = Registry<Evaluator>::Register(
    {"ruler",
     "Needles, variables and word lists in a long context, by task and length",
     "RULER, arXiv 2404.06654; our own texts",
     {},
     RulerOptions()},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<Ruler>(options); });

}  // namespace
}  // namespace espalier
