#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "espalier/evaluate/evaluator.h"
#include "espalier/model/forward.h"
#include "support/letter_tokenizer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

class DivergenceEvaluation : public testing::Test {
 protected:
  DivergenceEvaluation() {
    std::ofstream text(folder_ / "text.raw");
    for (int64_t i = 0; i < 2100; ++i) text << static_cast<char>('a' + (i * i) % 25);
  }
  Results Run(const Model& model, const Model* base) const {
    const auto& entry = Registry<Evaluator>::Find("divergence");
    return entry.make(Options(entry.info.options, {{"data", (folder_ / "text.raw").string()}}, "test"))
        ->Run({model, LetterTokenizer(32), "pruned", folder_.path(), std::nullopt, base});
  }
  at::Tensor LogP(const Model& model) const {
    std::ifstream file(folder_ / "text.raw");
    std::vector<int64_t> ids;
    for (char c; file.get(c);) ids.push_back(c % 32);
    const at::Tensor tokens = at::tensor(ids, at::kLong).narrow(0, 0, 2048);
    return at::log_softmax(Logits(model, tokens.unsqueeze(0)).squeeze(0).to(at::kDouble), -1).narrow(0, 0, 2047);
  }
  TempFolder folder_;
};

TEST_F(DivergenceEvaluation, MatchesTheDefinitionOnWholeLogits) {
  const Model base = TinyModel(1), model = TinyModel(2);
  const Results results = Run(model, &base);
  const at::Tensor p = LogP(base), q = LogP(model);
  const at::Tensor kl = (p.exp() * (p - q)).sum(1);
  EXPECT_NEAR(results.Find("kl")->value, kl.mean().item<double>(), 1e-5);
  EXPECT_EQ(results.Find("kl")->count, 2047);
  EXPECT_LT(*results.Find("kl")->low, *results.Find("kl")->high);
  EXPECT_NEAR(results.Find("kl_max")->value, kl.max().item<double>(), 1e-4);
  EXPECT_NEAR(results.Find("kl_p50")->value, kl.median().item<double>(), 1e-4);
  EXPECT_NEAR(results.Find("same_top")->value, p.argmax(1).eq(q.argmax(1)).to(at::kDouble).mean().item<double>(), 1e-9);
}

TEST_F(DivergenceEvaluation, OfAModelFromItselfIsNothing) {
  const Model model = TinyModel(3);
  const Results results = Run(model, &model);
  EXPECT_EQ(results.Find("kl")->value, 0);
  EXPECT_EQ(results.Find("kl_max")->value, 0);
  EXPECT_EQ(results.Find("same_top")->value, 1);
  EXPECT_EQ(results.Find("delta_p_rms")->value, 0);
  EXPECT_EQ(results.Find("log_perplexity_ratio")->value, 0);
  EXPECT_NEAR(results.Find("log_p_correlation")->value, 1, 1e-12);
}

TEST_F(DivergenceEvaluation, OfTheBaseItselfHasNoFigures) {
  EXPECT_TRUE(Run(TinyModel(4), nullptr).metrics.empty());
}

TEST_F(DivergenceEvaluation, GivesThePerplexityRatioThatPerplexityGives) {
  const Model base = TinyModel(5), model = TinyModel(6);
  const auto& entry = Registry<Evaluator>::Find("perplexity");
  const auto perplexity = [&](const Model& of) {
    return entry.make(Options(entry.info.options, {{"data", (folder_ / "text.raw").string()}}, "test"))
        ->Run({of, LetterTokenizer(32), "dense", folder_.path(), std::nullopt})
        .Find("perplexity")
        ->value;
  };
  EXPECT_NEAR(Run(model, &base).Find("log_perplexity_ratio")->value, std::log(perplexity(model) / perplexity(base)),
              1e-5);
}

TEST_F(DivergenceEvaluation, RefusesABaseWithAnotherVocabulary) {
  const Model base = TinyModel(7, {.V = 40});
  EXPECT_NE(MessageOf([&] { Run(TinyModel(8), &base); }).find("expected one vocabulary"), std::string::npos);
}

}  // namespace
}  // namespace espalier
