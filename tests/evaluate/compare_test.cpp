#include "espalier/evaluate/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "espalier/core/random.h"
#include "support/evaluation_sample.h"
#include "support/json_schema.h"
#include "support/support.h"

namespace espalier {
namespace {

constexpr int64_t kTokens = 8192;

at::Tensor Losses(int64_t tokens = kTokens) {
  return at::arange(tokens, at::kFloat).remainder(7).mul(0.5);
}

// Uniform in [-width, width], independent of its neighbours.
at::Tensor Noise(double width, uint64_t stream, int64_t tokens = kTokens) {
  at::Tensor noise = at::empty({tokens}, at::kFloat);
  for (int64_t t = 0; t < tokens; ++t)
    noise[t] = static_cast<float>(width * (2 * RandomUnit(1, stream, static_cast<uint64_t>(t)) - 1));
  return noise;
}

PairedComparison Compared(const at::Tensor& base, const at::Tensor& head, const CompareOptions& options = {}) {
  return CompareEvaluations(SampleEvaluation("base", {{"text", base}}), SampleEvaluation("head", {{"text", head}}),
                            options);
}

TEST(Compare, PassesWhenTheWholeIntervalLiesBelowTheLimit) {
  const PairedComparison comparison = Compared(Losses(), Losses() + 0.005 + Noise(0.01, 1));
  EXPECT_EQ(comparison.verdict, Verdict::kPass);
  EXPECT_NEAR(comparison.results[0].change.mean, std::exp(0.005), 3e-4);
  EXPECT_LT(comparison.results[0].change.high, 1.01);
  EXPECT_EQ(comparison.results[0].count, kTokens);
  EXPECT_FALSE(comparison.results[0].to_decide);
}

TEST(Compare, FailsWhenTheWholeIntervalLiesAboveTheLimit) {
  const PairedComparison comparison = Compared(Losses(), Losses() + 0.02 + Noise(0.01, 2));
  EXPECT_EQ(comparison.verdict, Verdict::kFail);
  EXPECT_GT(comparison.results[0].change.low, 1.01);
}

TEST(Compare, IsInconclusiveAcrossTheLimitAndSaysHowManyTokensWouldDecide) {
  // Uniform noise of half-width 1 has the standard deviation 0.577, its mean over 8,192 tokens 0.0064: an interval of
  // about 0.0125 around 0.005 holds log 1.01 = 0.00995. Until the upper end reaches it the width must fall to 0.00495.
  const PairedComparison comparison = Compared(Losses(), Losses() + 0.005 + Noise(1, 3) - Noise(1, 3).mean());
  ASSERT_EQ(comparison.verdict, Verdict::kInconclusive);
  const PairedResult& result = comparison.results[0];
  const double width = std::log(result.change.high) - 0.005, distance = std::log1p(0.01) - 0.005;
  ASSERT_TRUE(result.to_decide);
  EXPECT_NEAR(static_cast<double>(*result.to_decide), kTokens * std::pow(width / distance, 2), kTokens * 0.02);
}

TEST(Compare, OfTwoTextsTakesTheWorseAndCorrectsForBoth) {
  const Evaluation base = SampleEvaluation("base", {{"a", Losses()}, {"b", Losses()}});
  const Evaluation head =
      SampleEvaluation("head", {{"a", Losses() + Noise(0.01, 4)}, {"b", Losses() + 0.02 + Noise(0.01, 5)}});
  const PairedComparison comparison = CompareEvaluations(base, head);
  EXPECT_EQ(comparison.results[0].verdict, Verdict::kPass);
  EXPECT_EQ(comparison.results[1].verdict, Verdict::kFail);
  EXPECT_EQ(comparison.verdict, Verdict::kFail);
  EXPECT_DOUBLE_EQ(comparison.results[0].p_pass, 2.0 / 10001);  // the smallest of two, with 10,000 resamples
}

TEST(Compare, OfEqualLossesSaysThatNothingWasCompared) {
  const PairedComparison comparison = Compared(Losses(), Losses());
  EXPECT_EQ(comparison.verdict, Verdict::kInconclusive);
  EXPECT_NE(comparison.results[0].reason.find("same to the last bit"), std::string::npos);
  EXPECT_EQ(Compared(Losses(), Losses(), {.identical = Verdict::kPass}).verdict, Verdict::kPass);
}

TEST(Compare, DecidesNothingOnTooFewTokens) {
  const PairedComparison comparison = Compared(Losses(1000), Losses(1000) + Noise(0.001, 6, 1000));
  EXPECT_EQ(comparison.verdict, Verdict::kInconclusive);
  EXPECT_EQ(comparison.results[0].reason, "1,000 tokens are too few, expected at least 4,096");
}

TEST(Compare, FailsAHeadThatIsNotFiniteAndRefusesSuchABase) {
  at::Tensor broken = Losses();
  broken[17] = std::numeric_limits<float>::quiet_NaN();
  const PairedComparison comparison = Compared(Losses(), broken);
  EXPECT_EQ(comparison.verdict, Verdict::kFail);
  EXPECT_EQ(comparison.results[0].reason, "losses of the head are not finite");
  EXPECT_THROW(Compared(broken, Losses()), NumericError);
}

TEST(Compare, RefusesAnotherTextAnotherTokenizerAndAnotherProtocol) {
  const Evaluation base = SampleEvaluation("base", {{"text", Losses()}});
  for (const size_t entry : {0, 1, 2}) {
    Evaluation head = SampleEvaluation("head", {{"text", Losses() + 0.1}});
    head.results[0].protocol[entry].second = "other";
    EXPECT_THROW(CompareEvaluations(base, head), RecipeError) << entry;
  }
  Evaluation head = SampleEvaluation("head", {{"text", Losses() + 0.1}});
  head.results[0].protocol[2].second = std::string(64, 'c');
  EXPECT_EQ(MessageOf([&] { CompareEvaluations(base, head); }),
            "compare: text of base and of head are of different protocols (tokenizer_sha256 bbbbbbbbbbbb and "
            "cccccccccccc); evaluate both in one");
}

TEST(Compare, NotesAnotherDtypeAndComparesAllTheSame) {
  Evaluation head = SampleEvaluation("head", {{"text", Losses() + Noise(0.01, 7)}});
  head.results[0].protocol[3].second = "bfloat16";
  const PairedComparison comparison = CompareEvaluations(SampleEvaluation("base", {{"text", Losses()}}), head);
  EXPECT_EQ(comparison.verdict, Verdict::kPass);
  ASSERT_EQ(comparison.notices.size(), 1u);
  EXPECT_EQ(comparison.notices[0], "text: dtype float32 against bfloat16: part of the difference may be rounding.");
}

TEST(Compare, RefusesTwoThatHaveNoTextInCommon) {
  EXPECT_EQ(
      MessageOf([] {
        CompareEvaluations(SampleEvaluation("base", {{"a", Losses()}}), SampleEvaluation("head", {{"b", Losses()}}));
      }),
      "compare: no text that both were measured on: base has a; head has b");
}

TEST(Compare, DrawsWholeDocumentsWhereTheEvaluationKnowsThem) {
  Evaluation base = SampleEvaluation("base", {{"text", Losses()}});
  base.losses["text"].documents = at::arange(0, kTokens, 512, at::kLong);
  const Evaluation head = SampleEvaluation("head", {{"text", Losses() + Noise(0.01, 8)}});
  EXPECT_EQ(CompareEvaluations(base, head).results[0].resampled, "16 documents");
}

// 0-1 losses of `items` items: the first `wrong` of them 1.
at::Tensor Items(int64_t items, int64_t wrong) {
  at::Tensor losses = at::zeros({items}, at::kFloat);
  losses.slice(0, 0, wrong).fill_(1);
  return losses;
}

Evaluation Choices(const std::string& name, const at::Tensor& losses) {
  Evaluation evaluation = SampleEvaluation(name, {{"choice-set", losses}});
  evaluation.results[0].metrics = {
      {"accuracy", 1 - losses.mean().item<double>(), "", losses.numel(), std::nullopt, std::nullopt, ""}};
  return evaluation;
}

TEST(Compare, OfAccuracyAsksWhetherItFallsByMoreThanTheDrop) {
  // 1,000 items, 400 wrong; the head gets 5 more wrong, then 100 more.
  const Evaluation base = Choices("base", Items(1000, 400));
  const PairedComparison near = CompareEvaluations(base, Choices("head", Items(1000, 405)), {.drop = 0.02});
  EXPECT_EQ(near.verdict, Verdict::kPass);
  EXPECT_EQ(near.results[0].metric, "accuracy");
  EXPECT_NEAR(near.results[0].base, 0.6, 1e-6);
  EXPECT_NEAR(near.results[0].change.mean, -0.005, 1e-6);
  EXPECT_LT(near.results[0].change.low, near.results[0].change.high);
  EXPECT_DOUBLE_EQ(near.results[0].limit, -0.02);
  // McNemar, 5 discordant pairs all one way: 2 / 2^5.
  EXPECT_EQ(near.results[0].reason, "5 items lost, 0 gained (McNemar p 0.0625)");
  EXPECT_EQ(CompareEvaluations(base, Choices("head", Items(1000, 500)), {.drop = 0.02}).verdict, Verdict::kFail);
  EXPECT_EQ(CompareEvaluations(Choices("base", Items(50, 10)), Choices("head", Items(50, 11))).verdict,
            Verdict::kInconclusive);  // too few items
}

TEST(Compare, WritesJsonThatConformsToItsSchema) {
  at::Tensor broken = Losses();
  broken[0] = std::numeric_limits<float>::infinity();
  for (const at::Tensor& head : {Losses() + Noise(1, 3), broken}) {
    const Json json = ParseJson(DumpJson(ComparisonToJson(Compared(Losses(), head))), "comparison.json");
    EXPECT_EQ(SchemaCheck::Problems(json, "comparison-1"), std::vector<std::string>{});
  }
}

}  // namespace
}  // namespace espalier
