#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "espalier/evaluate/evaluator.h"
#include "espalier/io/tensors.h"
#include "espalier/model/forward.h"
#include "support/letter_tokenizer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

constexpr int64_t kBytes = 2100;

class PerplexityEvaluation : public testing::Test {
 protected:
  PerplexityEvaluation() {
    std::ofstream text(folder_ / "text.raw");
    for (int64_t i = 0; i < kBytes; ++i) text << static_cast<char>('a' + (i * i) % 25);
  }

  std::unique_ptr<Evaluator> Make(std::map<std::string, OptionValue> options) const {
    options.emplace("data", (folder_ / "text.raw").string());
    return Registry<Evaluator>::Create(
        "perplexity", Options(Registry<Evaluator>::Find("perplexity").info.options, std::move(options), "test"));
  }
  Results Run(const Model& model, std::map<std::string, OptionValue> options,
              std::optional<std::filesystem::path> dense = {}) const {
    return Make(std::move(options))->Run({model, LetterTokenizer(32), "pruned", folder_.path(), std::move(dense)});
  }

  TempFolder folder_;
};

TEST_F(PerplexityEvaluation, OfAModelThatKnowsNothingIsTheVocabulary) {
  Model model = TinyModel(1, {.tied_head = false});
  model.head.zero_();
  const Results results = Run(model, {});
  const Metric* perplexity = results.Find("perplexity");
  ASSERT_NE(perplexity, nullptr);
  EXPECT_NEAR(perplexity->value, 32, 1e-4);
  EXPECT_NEAR(*perplexity->low, 32, 1e-4);
  EXPECT_NEAR(*perplexity->high, 32, 1e-4);
  EXPECT_EQ(perplexity->count, 2047);  // one window of 2048, its first token unscored
  EXPECT_EQ(results.id, "perplexity-text");
  EXPECT_EQ(results.Find("perplexity_ratio"), nullptr);
}

TEST_F(PerplexityEvaluation, MatchesLogSoftmaxOfTheLogits) {
  const Model model = TinyModel(2);
  const Results results = Run(model, {});
  const at::Tensor nll = LoadTensors(folder_ / "perplexity-text.losses.safetensors").at("losses");
  std::ifstream file(folder_ / "text.raw");
  std::vector<int64_t> ids;
  for (char c; file.get(c);) ids.push_back(c % 32);
  const at::Tensor tokens = at::tensor(ids, at::kLong).narrow(0, 0, 2048);
  const at::Tensor log_p = at::log_softmax(Logits(model, tokens.unsqueeze(0)).squeeze(0), -1);
  const at::Tensor expected = -log_p.narrow(0, 0, 2047).gather(1, tokens.narrow(0, 1, 2047).unsqueeze(1)).squeeze(1);
  ASSERT_EQ(nll.sizes(), expected.sizes());
  EXPECT_TRUE(at::allclose(nll, expected, 1e-4, 1e-4));
  EXPECT_NEAR(results.Find("perplexity")->value, std::exp(expected.mean(at::kDouble).item<double>()), 1e-3);
}

TEST_F(PerplexityEvaluation, StridedScoresEveryTokenButTheFirstAndNamesItself) {
  const std::map<std::string, OptionValue> options = {
      {"preset", std::string("strided")}, {"window", int64_t{512}}, {"stride", int64_t{256}}};
  const Results results = Run(TinyModel(3), options);
  EXPECT_EQ(results.id, "perplexity-text-strided");
  EXPECT_EQ(results.Find("perplexity")->count, kBytes - 1);
  EXPECT_EQ(results.protocol[2], (std::pair<std::string, std::string>{"stride", "256"}));
}

TEST_F(PerplexityEvaluation, OfTheDenseModelAgainstItselfIsARatioOfOne) {
  const Model model = TinyModel(4);
  Run(model, {});
  const Results again = Run(model, {}, folder_.path());
  const Metric* ratio = again.Find("perplexity_ratio");
  ASSERT_NE(ratio, nullptr);
  EXPECT_EQ(ratio->value, 1);
  EXPECT_EQ(*ratio->low, 1);
  EXPECT_EQ(*ratio->high, 1);
  EXPECT_EQ(ratio->of, "dense");
}

TEST_F(PerplexityEvaluation, RefusesAStrideThatLeavesTokensUnscored) {
  const std::map<std::string, OptionValue> same = {
      {"preset", std::string("strided")}, {"window", int64_t{512}}, {"stride", int64_t{512}}};
  EXPECT_EQ(MessageOf([&] { Make(same); }),
            "perplexity: stride 512 is not smaller than the window 512; the first token of each window would never be "
            "scored");
}

TEST_F(PerplexityEvaluation, RefusesATextThatIsTooShort) {
  const std::map<std::string, OptionValue> short_windows = {
      {"preset", std::string("strided")}, {"window", int64_t{512}}, {"stride", int64_t{256}}, {"windows", int64_t{2}}};
  EXPECT_NE(MessageOf([&] {
              Run(TinyModel(5), short_windows);
            }).find("give 767 scored predictions in windows of 512, expected at least 1024"),
            std::string::npos);
}

TEST_F(PerplexityEvaluation, RefusesTheTokenizerOfAnotherModel) {
  const Model model = TinyModel(6);
  EXPECT_EQ(MessageOf([&] {
              Make({})->Run({model, LetterTokenizer(33), "dense", folder_.path(), {}});
            }),
            "tokenizer: 33 entries, the model's vocabulary has 32; this tokenizer belongs to another model");
}

TEST_F(PerplexityEvaluation, PutsBosOnceAtTheStartWhereTheTokenizerWantsIt) {
  const std::map<std::string, OptionValue> options = {
      {"preset", std::string("strided")}, {"window", int64_t{512}}, {"stride", int64_t{256}}};
  const Model model = TinyModel(7);
  const Results results =
      Make(options)->Run({model, LetterTokenizer(32, /*adds_bos=*/true), "dense", folder_.path(), {}});
  EXPECT_EQ(results.Find("perplexity")->count, kBytes);  // the first letter is predicted too
}

}  // namespace
}  // namespace espalier
