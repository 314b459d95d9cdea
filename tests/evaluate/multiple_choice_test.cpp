#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "../../src/evaluate/choice_items.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/evaluate/intervals.h"
#include "espalier/evaluate/losses.h"
#include "espalier/model/forward.h"
#include "support/letter_tokenizer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

class MultipleChoiceEvaluation : public testing::Test {
 protected:
  std::filesystem::path Write(const std::string& text) const {
    std::ofstream(folder_ / "set.jsonl") << text;
    return folder_ / "set.jsonl";
  }
  Results Run(const Model& model, const std::filesystem::path& path) const {
    const auto& entry = Registry<Evaluator>::Find("multiple_choice");
    return entry.make(Options(entry.info.options, {{"data", path.string()}}, "test"))
        ->Run({model, LetterTokenizer(32), "dense", folder_.path(), std::nullopt});
  }
  TempFolder folder_;
};

// log p of the letters of `choice` after `context`, one token at a time from the logits.
double LogP(const Model& model, const std::string& context, const std::string& choice) {
  std::vector<int64_t> ids;
  for (const char c : context + choice) ids.push_back(c % 32);
  const at::Tensor log_p = at::log_softmax(Logits(model, at::tensor(ids, at::kLong).unsqueeze(0)).squeeze(0), -1);
  double sum = 0;
  for (size_t t = context.size(); t < ids.size(); ++t) sum += log_p[static_cast<int64_t>(t) - 1][ids[t]].item<double>();
  return sum;
}

TEST_F(MultipleChoiceEvaluation, TakesTheLikeliestContinuationAndNormalisesByLength) {
  const Model model = TinyModel(1);
  const std::vector<std::string> contexts = {"abc", "hello", "quite a long context", "zz", "q"};
  const std::vector<std::string> choices = {"x", "yellow", "blue sky", "mm"};
  std::string lines;
  int64_t right = 0, right_normalised = 0;
  at::Tensor losses = at::empty({5}, at::kFloat);
  for (size_t i = 0; i < contexts.size(); ++i) {
    const auto answer = static_cast<int64_t>(i % choices.size());
    lines += Json({{"context", contexts[i]}, {"choices", choices}, {"answer", answer}}).dump() + "\n";
    std::vector<double> log_p, normalised;
    for (const std::string& choice : choices) {
      log_p.push_back(LogP(model, contexts[i], " " + choice));
      normalised.push_back(log_p.back() / static_cast<double>(choice.size()));
    }
    const bool hit = std::max_element(log_p.begin(), log_p.end()) - log_p.begin() == answer;
    right += hit ? 1 : 0;
    right_normalised += std::max_element(normalised.begin(), normalised.end()) - normalised.begin() == answer ? 1 : 0;
    losses[static_cast<int64_t>(i)] = hit ? 0 : 1;
  }
  const Results results = Run(model, Write(lines));
  EXPECT_EQ(results.id, "choice-set");
  EXPECT_EQ(results.Find("accuracy")->value, static_cast<double>(right) / 5);
  EXPECT_EQ(results.Find("accuracy_norm")->value, static_cast<double>(right_normalised) / 5);
  EXPECT_TRUE(at::equal(LoadLosses(folder_.path(), "choice-set").each, losses));
}

TEST_F(MultipleChoiceEvaluation, RefusesItemsThatAreNone) {
  const auto message = [&](const std::string& line) { return MessageOf([&] { Run(TinyModel(1), Write(line)); }); };
  EXPECT_NE(message("{\"context\": \"a\", \"choices\": [\"b\"], \"answer\": 0}\n").find("set.jsonl:1: choices"),
            std::string::npos);
  EXPECT_NE(message("\n{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 2}\n").find("set.jsonl:2: answer"),
            std::string::npos);
  EXPECT_NE(message("{\"context\": \"a\", \"choices\": [\"b\", \"\"], \"answer\": 0}\n").find("a choice is empty"),
            std::string::npos);
  EXPECT_NE(message("\n\n").find("no items"), std::string::npos);
  EXPECT_NE(message("not json\n").find("set.jsonl:1"), std::string::npos);
}

TEST(Continuations, TakeWhiteSpaceAtTheContextsEndIntoTheChoice) {
  const ChoiceItems items{{{"ab  ", {"c", "de"}, 0}}, ""};
  const std::vector<Continuation> all = EncodeContinuations(items, LetterTokenizer(64), " ");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].first_scored, 2);     // after a and b
  EXPECT_EQ(all[0].ids.size(), 2u + 4);  // two spaces, the delimiter and c
  EXPECT_EQ(all[1].characters, 2);
}

TEST(Continuations, OfAnEmptyContextFollowBos) {
  const ChoiceItems items{{{"", {"c", "d"}, 0}}, ""};
  const std::vector<Continuation> all = EncodeContinuations(items, LetterTokenizer(64), "");
  EXPECT_EQ(all[0].ids, (std::vector<int64_t>{0, 'c' % 64}));
  EXPECT_EQ(all[0].first_scored, 1);
}

TEST(Wilson, OfEightInTenIsAsTablesHaveIt) {
  const Interval interval = WilsonInterval(8, 10);  // Wilson 1927; 0.490 to 0.943 in every table
  EXPECT_NEAR(interval.mean, 0.8, 1e-12);
  EXPECT_NEAR(interval.low, 0.4902, 5e-5);
  EXPECT_NEAR(interval.high, 0.9433, 5e-5);
  EXPECT_EQ(WilsonInterval(0, 20).low, 0);
  EXPECT_EQ(WilsonInterval(20, 20).high, 1);
}

}  // namespace
}  // namespace espalier
