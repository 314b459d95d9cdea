#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "../../src/evaluate/answers.h"
#include "../../src/evaluate/context_task.h"
#include "espalier/core/error.h"
#include "espalier/evaluate/losses.h"
#include "espalier/model/forward.h"
#include "support/letter_tokenizer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

const LetterTokenizer kBytes(256);  // loses nothing

Model ByteModel(uint64_t seed) {
  TinyShape shape;
  shape.V = 256;
  shape.tied_head = false;
  Model model = TinyModel(seed, shape);
  model.head.mul_(0.05);  // almost uniform predictions
  return model;
}

std::string TextOf(const Question& question) {
  std::string text;
  for (const int64_t id : question.prompt) text += static_cast<char>(id);
  return text;
}

Results Evaluate(const std::string& name, const Model& model, std::map<std::string, OptionValue> options,
                 const std::filesystem::path& folder, std::optional<std::filesystem::path> dense = {}) {
  const auto evaluator = Registry<Evaluator>::Create(
      name, Options(Registry<Evaluator>::Find(name).info.options, std::move(options), "test"));
  return evaluator->Run({model, kBytes, "pruned", folder, std::move(dense)});
}

// -log p of each token after the first, in one pass without a cache.
at::Tensor Nll(const Model& model, const at::Tensor& ids) {  // [T]
  const at::Tensor log_p = at::log_softmax(Logits(model, ids.unsqueeze(0)).squeeze(0), -1);
  return -log_p.slice(0, 0, -1).gather(1, ids.slice(0, 1).unsqueeze(1)).squeeze(1);
}

TEST(Question, HasTheLengthAskedForAndItsNeedlesAtTheirDepths) {
  const Haystack haystack(kBytes, {});
  const PromptParts parts{"OPEN", {{1, "<LAST>"}, {0, "<FIRST>"}, {0.5, "<MIDDLE>"}}, "CLOSE", " right"};
  const Question question = MakeQuestion(haystack, parts, 425, 3);
  const std::string text = TextOf(question);
  ASSERT_EQ(text.size(), 425u);
  EXPECT_TRUE(text.starts_with("OPEN<FIRST>"));
  EXPECT_TRUE(text.ends_with("<LAST>CLOSE"));
  EXPECT_EQ(text.find("<MIDDLE>"), 11u + 197u);  // 425 less 30 of parts leaves 395 of filler
  EXPECT_EQ(std::string(question.answer.begin(), question.answer.end()), " right");
  EXPECT_THROW(MakeQuestion(haystack, parts, 24, 3), RecipeError);
}

TEST(Haystack, IsAnEssayWhereOneIsGivenAndGoesRoundAtItsEnd) {
  const TempFolder folder;
  std::ofstream(folder / "essay.txt") << "abcdef";
  const Haystack haystack(kBytes, folder / "essay.txt");
  std::string text;
  for (const int64_t id : haystack.Filler(20, 1)) text += static_cast<char>(id);
  EXPECT_NE(std::string("abcdef\nabcdef\nabcdef\nabcdef\n").find(text), std::string::npos) << text;
  EXPECT_THROW(Haystack(kBytes, folder / "none.txt"), IoError);
}

TEST(ContextTasks, AllHaveTheLengthAskedForAndExpectWhatStandsInThem) {
  const Haystack haystack(kBytes, {});
  for (const std::string& name : Registry<ContextTask>::Names()) {
    const auto task = Registry<ContextTask>::Create(name);
    for (const uint64_t item : {0, 1}) {
      const Question question = task->Make(haystack, 3000, item);
      EXPECT_EQ(question.prompt.size(), 3000u) << name;
      ASSERT_FALSE(question.expected.empty());
      EXPECT_EQ(ShareFound(question.expected, TextOf(question)), 1) << name;
    }
    EXPECT_NE(TextOf(task->Make(haystack, 3000, 0)), TextOf(task->Make(haystack, 3000, 1))) << name;
    EXPECT_THROW(task->Make(haystack, 130, 0), RecipeError) << name;
  }
}

TEST(ContextTasks, HideAsManyNeedlesAsTheirNamesSayAndAskForSomeOrAll) {
  const Haystack haystack(kBytes, {});
  const std::map<std::string, std::pair<int, size_t>> hidden_and_asked = {
      {"niah_single", {1, 1}}, {"niah_multikey", {4, 1}}, {"niah_multivalue", {4, 4}}, {"niah_multiquery", {4, 4}}};
  for (const auto& [name, counts] : hidden_and_asked) {
    const Question question = Registry<ContextTask>::Create(name)->Make(haystack, 2000, 3);
    const std::string text = TextOf(question), asked = text.substr(text.find("\n\nWhich"));
    int hidden = 0;
    for (size_t at = text.find("A number of the word "); at != std::string::npos;
         at = text.find("A number of the word ", at + 1)) {
      ++hidden;
      // "A number of the word X is N.": N is expected where X is asked for, and nowhere else.
      std::istringstream words(text.substr(at + 21, 60));
      std::string word, is, number;
      words >> word >> is >> number;
      number.pop_back();
      EXPECT_EQ(asked.find(word) != std::string::npos,
                std::ranges::find(question.expected, number) != question.expected.end())
          << name << ": " << word << " " << number;
    }
    EXPECT_EQ(hidden, counts.first) << name;
    EXPECT_EQ(question.expected.size(), counts.second) << name;
  }
}

TEST(ContextTasks, ExpectTheWordsThatACountFindsMostOften) {
  const Haystack haystack(kBytes, {});
  for (const char* name : {"common_words", "frequent_words"}) {
    const Question question = Registry<ContextTask>::Create(name)->Make(haystack, 4000, 5);
    const std::string text = TextOf(question);
    const size_t begin = text.find("\n\n") + 2, end = text.find("\n\nWhich");
    std::map<std::string, int> counts;
    std::istringstream words(text.substr(begin, end - begin));
    for (std::string word; words >> word;) ++counts[word];
    int least = 1 << 20;
    for (const std::string& expected : question.expected) least = std::min(least, counts[expected]);
    for (const auto& [word, count] : counts) {
      if (std::ranges::find(question.expected, word) != question.expected.end()) continue;
      EXPECT_LT(count, least) << word;
    }
  }
}

TEST(ContextTasks, VariablesFollowFromTheTextInOrder) {
  const Haystack haystack(kBytes, {});
  const Question question = Registry<ContextTask>::Create("variable_tracking")->Make(haystack, 2000, 7);
  std::istringstream lines(TextOf(question));
  std::map<std::string, std::string> values;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string var, name, equals, value;
    if (!(words >> var >> name >> equals >> value) || var != "VAR" || equals != "=") continue;
    if (value == "VAR") {
      words >> value;
      ASSERT_TRUE(values.contains(value)) << line;
      value = values[value];
    }
    values[name] = value;
  }
  ASSERT_EQ(values.size(), question.expected.size());
  for (const std::string& name : question.expected) EXPECT_EQ(values[name], values[question.expected[0]]) << name;
}

TEST(Answers, HoldTheLossThatOnePassOverPromptAndAnswerGives) {
  const Model model = ByteModel(21);
  const Haystack haystack(kBytes, {});
  std::vector<Question> questions;
  for (const int64_t length : {90, 90, 120})
    questions.push_back(
        MakeQuestion(haystack, {"In:", {}, "Out:", questions.empty() ? " 12345" : " 98"}, length, questions.size()));
  const std::vector<Answer> answers = AnswerQuestions(model, kBytes, {}, questions, 5, "test");
  for (size_t i = 0; i < questions.size(); ++i) {
    std::vector<int64_t> ids = questions[i].prompt;
    ids.insert(ids.end(), questions[i].answer.begin(), questions[i].answer.end());
    const at::Tensor nll = Nll(model, at::tensor(ids, at::kLong));
    EXPECT_NEAR(answers[i].nll, nll.slice(0, -std::ssize(questions[i].answer)).mean().item<double>(), 1e-4) << i;
    KvCache cache(model);
    const at::Tensor alone = Generate(model, at::tensor(questions[i].prompt, at::kLong).unsqueeze(0), 5, {}, cache);
    std::string text;
    for (int64_t t = 0; t < 5; ++t) text += static_cast<char>(alone[0][t].item<int64_t>());
    EXPECT_EQ(answers[i].text, text) << i;
  }
}

TEST(Answers, AreScoredByTheShareOfWhatIsExpectedWhateverItsCase) {
  EXPECT_EQ(ShareFound({"apple", "Stone"}, "an APPLE and a stone."), 1);
  EXPECT_EQ(ShareFound({"apple", "stone", "rain", "12"}, "stone 123"), 0.5);
}

TEST(MeanValue, HasWilsonsIntervalForSharesAndTheBootstrapsForOthers) {
  const std::vector<float> right = {1, 1, 1, 1, 1, 1, 1, 1, 1, 0};
  const Grid::Value share = MeanValue(right, true);
  EXPECT_NEAR(share.value, 0.9, 1e-6);
  EXPECT_NEAR(*share.low, 0.5958, 1e-4);  // Wilson 1927 for 9 of 10, by hand
  EXPECT_NEAR(*share.high, 0.9821, 1e-4);
  const std::vector<float> few = {0.5, 0.25};
  EXPECT_FALSE(MeanValue(few, false).low);
  EXPECT_NEAR(MeanValue(few, false).value, 0.375, 1e-9);
}

TEST(Passkey, HasACellForEachLengthAndDepthAndComparesWithDense) {
  const TempFolder folder;
  const std::map<std::string, OptionValue> options = {{"lengths", std::vector<int64_t>{320, 400}},
                                                      {"depths", std::vector<int64_t>{0, 50, 100}},
                                                      {"repeats", int64_t{2}}};
  const Model model = ByteModel(22);
  Evaluate("passkey", model, options, folder.path());
  const Results results = Evaluate("passkey", model, options, folder.path(), folder.path());
  EXPECT_EQ(results.id, "passkey");
  EXPECT_EQ(results.Find("accuracy")->count, 12);
  EXPECT_EQ(results.Find("accuracy_change")->value, 0);
  ASSERT_EQ(results.grids.size(), 2u);
  const Grid& nll = results.grids[1];
  EXPECT_EQ(nll.rows, (std::vector<std::string>{"320", "400"}));
  EXPECT_EQ(nll.columns, (std::vector<std::string>{"0", "50", "100"}));
  double sum = 0;
  for (const auto& row : nll.values)
    for (const Grid::Value& value : row) sum += value.value / 6;
  EXPECT_NEAR(results.Find("answer_nll")->value, sum, 1e-4);
  EXPECT_NEAR(sum, std::log(256), 0.2);  // a model that knows nothing
}

TEST(Passkey, SaysWhatItsCacheDropsAndItsRopeIsInItsId) {
  const TempFolder folder;
  Model model = ByteModel(22);
  model.config.max_positions = 128;
  const Results results = Evaluate("passkey", model,
                                   {{"lengths", std::vector<int64_t>{320}},
                                    {"depths", std::vector<int64_t>{0}},
                                    {"recent", int64_t{32}},
                                    {"rope", std::string("yarn")},
                                    {"rope_factor", 4.0}},
                                   folder.path());
  EXPECT_EQ(results.id, "passkey-sinks4+32-yarn4");
}

TEST(Copying, WithEveryHeadARetrievalHeadIsThatOfAWholeCache) {
  const TempFolder folder;
  const Model model = ByteModel(22);  // of 2, 3 and 1 key/value heads
  const std::map<std::string, OptionValue> whole = {{"length", int64_t{40}}, {"sequences", int64_t{8}}};
  std::map<std::string, OptionValue> split = whole;
  split["recent"] = int64_t{8};
  const auto loss = [&](const std::map<std::string, OptionValue>& options) {
    return Evaluate("copying", model, options, folder.path()).Find("second_time_nll")->value;
  };
  const double dropped = loss(split);
  split["retrieval_heads"] = std::vector<std::string>{"0:0", "0:1", "1:0", "1:1", "1:2", "2:0"};
  EXPECT_NEAR(loss(split), loss(whole), 1e-5);
  EXPECT_GT(std::abs(dropped - loss(whole)), 1e-4);
  EXPECT_EQ(Evaluate("copying", model, split, folder.path()).id, "copying-sinks4+8-6whole");
  for (const char* wrong : {"3:0", "1", "1:x", "0:0:0", "-1:0", "0:2"}) {
    split["retrieval_heads"] = std::vector<std::string>{wrong};
    EXPECT_THROW(loss(split), RecipeError) << wrong;
  }
}

TEST(Ruler, AveragesItsTasksAndLengths) {
  const TempFolder folder;
  const Results results = Evaluate("ruler", ByteModel(23),
                                   {{"tasks", std::vector<std::string>{"niah_single", "variable_tracking"}},
                                    {"lengths", std::vector<int64_t>{400, 500}},
                                    {"repeats", int64_t{2}}},
                                   folder.path());
  EXPECT_EQ(results.Find("accuracy")->count, 8);
  EXPECT_EQ(results.grids[0].rows, (std::vector<std::string>{"niah_single", "variable_tracking"}));
  EXPECT_EQ(results.grids[0].values[1][1].count, 2);
}

TEST(Copying, IsTheLossOfTheSecondTimeInOnePass) {
  const TempFolder folder;
  const Model model = ByteModel(24);
  const Results results =
      Evaluate("copying", model, {{"length", int64_t{20}}, {"sequences", int64_t{9}}}, folder.path());
  EXPECT_EQ(results.Find("accuracy")->count, 9);
  EXPECT_NEAR(results.Find("first_time_nll")->value, std::log(256), 0.2);
  const Results again = Evaluate("copying", model, {{"length", int64_t{20}}, {"sequences", int64_t{9}}}, folder.path());
  EXPECT_EQ(again.Find("second_time_nll")->value, results.Find("second_time_nll")->value);
}

class LongText : public testing::Test {
 protected:
  LongText() {
    std::ofstream text(folder_ / "text.txt");
    for (int64_t i = 0; i < 3000; ++i) text << static_cast<char>('a' + (i * i + i / 7) % 25);
  }
  // The ids that presets and curves see of it.
  at::Tensor Ids() const { return EncodeIds(GptqText(ReadCorpus({folder_ / "text.txt", 0, {}}))); }
  static at::Tensor EncodeIds(const std::string& text) {
    std::vector<int64_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return at::tensor(ids, at::kLong);
  }
  TempFolder folder_;
};

TEST_F(LongText, PositionsHaveTheMeanLossOfTheirBucketsOverWindows) {
  const Model model = ByteModel(25);
  const std::map<std::string, OptionValue> options = {
      {"data", (folder_ / "text.txt").string()}, {"length", int64_t{40}}, {"windows", int64_t{10}}};
  Evaluate("positions", model, options, folder_.path());
  const Results results = Evaluate("positions", model, options, folder_.path(), folder_.path());
  EXPECT_EQ(results.id, "positions-text");
  const Grid& curve = results.grids.at(0);
  EXPECT_EQ(curve.rows, (std::vector<std::string>{"1", "2-3", "4-7", "8-15", "16-31", "32-39"}));
  double nll = 0;
  for (int64_t window = 0; window < 10; ++window)
    nll += Nll(model, Ids().slice(0, 40 * window, 40 * window + 40)).slice(0, 3, 7).mean().item<double>() / 10;
  EXPECT_NEAR(curve.values[2][0].value, std::exp(nll), 1e-3 * std::exp(nll));
  EXPECT_EQ(curve.values[2][0].count, 40);
  for (const auto& row : results.grids.at(1).values) EXPECT_EQ(row[0].value, 1);  // against itself
  EXPECT_EQ(results.Find("late_perplexity_ratio")->value, 1);
}

TEST_F(LongText, PositionsRefuseATextOfFewWindows) {
  const std::string data = (folder_ / "text.txt").string();
  EXPECT_THROW(Evaluate("positions", ByteModel(25), {{"data", data}, {"length", int64_t{512}}}, folder_.path()),
               RecipeError);
}

TEST_F(LongText, StreamingPerplexityIsThatOfTheWholeTextUnderItsCache) {
  const Model model = ByteModel(26);
  std::map<std::string, OptionValue> options = {{"data", (folder_ / "text.txt").string()},
                                                {"preset", std::string("streaming")},
                                                {"window", int64_t{64}},
                                                {"sinks", int64_t{3}}};
  const Results results = Evaluate("perplexity", model, options, folder_.path());
  EXPECT_EQ(results.id, "perplexity-text-streaming");
  const at::Tensor ids = Ids();
  KvCache cache(model, {.sinks = 3, .recent = 61});
  std::vector<at::Tensor> hidden;  // seven tokens at a time
  for (int64_t t = 0; t + 1 < ids.size(0); t += 7)
    hidden.push_back(
        HiddenStates(model, ids.slice(0, t, std::min(t + 7, ids.size(0) - 1)).unsqueeze(0), cache).squeeze(0));
  const at::Tensor nll = TokenNll(model, at::cat(hidden), ids.slice(0, 1));
  EXPECT_NEAR(results.Find("perplexity")->value, std::exp(nll.mean(at::kDouble).item<double>()), 1e-3);
  EXPECT_EQ(results.Find("perplexity")->count, ids.size(0) - 1);

  options["window"] = int64_t{8192};  // longer than the text: nothing is dropped
  EXPECT_NEAR(Evaluate("perplexity", model, options, folder_.path()).Find("perplexity")->value,
              std::exp(Nll(model, ids).mean(at::kDouble).item<double>()), 1e-3);
}

TEST_F(LongText, DivergenceFromSavedLogitsIsThatFromTheModelThatWroteThem) {
  Model base = ByteModel(28), model = CopyModel(base, at::kFloat, at::kCPU);
  model.head.mul_(1.5);
  const std::string data = (folder_ / "text.txt").string();
  Evaluate("save_base_logits", base, {{"data", data}, {"file", (folder_ / "base.kld").string()}}, folder_.path());
  const Results read =
      Evaluate("divergence_from_logits", model, {{"file", (folder_ / "base.kld").string()}}, folder_.path());
  const auto direct = Registry<Evaluator>::Create(
      "divergence", Options(Registry<Evaluator>::Find("divergence").info.options,
                            {{"data", data}, {"preset", std::string("llama.cpp")}}, "test"));
  const Results expected = direct->Run({model, kBytes, "pruned", folder_.path(), {}, &base});
  for (const char* name : {"kl", "same_top", "delta_p_rms", "log_perplexity_ratio", "log_p_correlation"})
    EXPECT_NEAR(read.Find(name)->value, expected.Find(name)->value, 2e-3 * std::abs(expected.Find(name)->value) + 1e-5)
        << name;
  EXPECT_EQ(read.Find("kl")->count, expected.Find("kl")->count);
}

TEST_F(LongText, ContradictionsAreSaidBeforeAnyWork) {
  const std::string data = (folder_ / "text.txt").string();
  const Model model = ByteModel(27);
  EXPECT_THROW(
      Evaluate("perplexity", model,
               {{"data", data}, {"preset", std::string("streaming")}, {"window", int64_t{8}}, {"sinks", int64_t{8}}},
               folder_.path()),
      RecipeError);
  EXPECT_THROW(Evaluate("divergence", model, {{"data", data}, {"preset", std::string("streaming")}}, folder_.path()),
               RecipeError);
  EXPECT_THROW(Evaluate("copying", model, {{"rope_factor", 2.0}}, folder_.path()), RecipeError);
  EXPECT_THROW(Evaluate("passkey", model, {{"lengths", std::vector<int64_t>{64}}}, folder_.path()), RecipeError);
}

}  // namespace
}  // namespace espalier
