#include "espalier/evaluate/gate.h"

#include <gtest/gtest.h>

namespace espalier {
namespace {

Results Measured(const std::string& id, const std::string& model, const std::string& metric, double value,
                 std::optional<double> low = {}, std::optional<double> high = {}) {
  Results results;
  results.id = id;
  results.model = model;
  results.metrics.push_back({metric, value, "", 100, low, high, ""});
  return results;
}

std::vector<GateResult> Judge(const std::vector<Results>& results, std::map<std::string, OptionValue> options,
                              const std::string& gate = "perplexity_ratio") {
  return Registry<Gate>::Create(gate, Options(Registry<Gate>::Find(gate).info.options, std::move(options), "test"))
      ->Judge(results);
}

Verdict Of(double value, std::optional<double> low, std::optional<double> high) {
  const std::vector<GateResult> judged =
      Judge({Measured("perplexity-x", "pruned", "perplexity_ratio", value, low, high)}, {{"max", 1.6}});
  EXPECT_EQ(judged.size(), 1u);
  return judged.front().verdict;
}

TEST(Gates, JudgeTheWholeInterval) {
  EXPECT_EQ(Of(1.5, 1.4, 1.59), Verdict::kPass);
  EXPECT_EQ(Of(1.5, 1.4, 1.6), Verdict::kPass);  // at most
  EXPECT_EQ(Of(1.5, 1.4, 1.61), Verdict::kInconclusive);
  EXPECT_EQ(Of(1.7, 1.6, 1.8), Verdict::kInconclusive);
  EXPECT_EQ(Of(1.7, 1.61, 1.8), Verdict::kFail);
  EXPECT_EQ(Of(1.6, {}, {}), Verdict::kPass);  // no interval: the value itself
  EXPECT_EQ(Of(1.61, {}, {}), Verdict::kFail);
}

TEST(Gates, WithALowerLimitJudgeTheOtherSide) {
  const auto of = [](double low, double high) {
    return Judge({Measured("passkey", "pruned", "accuracy", 0.9, low, high)}, {{"min", 0.8}}, "accuracy").front();
  };
  EXPECT_EQ(of(0.8, 0.95).verdict, Verdict::kPass);  // at least
  EXPECT_EQ(of(0.79, 0.95).verdict, Verdict::kInconclusive);
  EXPECT_EQ(of(0.7, 0.79).verdict, Verdict::kFail);
  EXPECT_EQ(of(0.8, 0.95).text, "accuracy of pruned on passkey at least 0.8");
}

TEST(Gates, SayWhatWasJudgedAndOnWhat) {
  const GateResult result =
      Judge({Measured("perplexity-x", "pruned", "perplexity_ratio", 1.43, 1.41, 1.46)}, {{"max", 1.6}}).front();
  EXPECT_EQ(result.text, "perplexity_ratio of pruned on perplexity-x at most 1.6");
  EXPECT_EQ(result.detail, "1.43 [1.41, 1.46]");
  EXPECT_EQ(VerdictName(result.verdict), "pass");
  EXPECT_EQ(VerdictName(Verdict::kFail), "fail");
  EXPECT_EQ(VerdictName(Verdict::kInconclusive), "inconclusive");
}

TEST(Gates, FailWhereNoFigureWasMeasured) {
  const std::vector<Results> others = {Measured("perplexity-x", "dense", "perplexity", 20),
                                       Measured("speed", "pruned", "tokens", 9)};
  const std::vector<GateResult> judged = Judge(others, {{"max", 1.6}});
  ASSERT_EQ(judged.size(), 1u);
  EXPECT_EQ(judged[0].verdict, Verdict::kFail);
  EXPECT_EQ(judged[0].detail, "no such figure was measured");
  EXPECT_EQ(Judge({}, {{"max", 1.6}}).size(), 1u);
}

TEST(Gates, JudgeEachEvaluationThatHasTheFigureOrTheOneNamed) {
  const std::vector<Results> results = {Measured("perplexity-a", "pruned", "perplexity", 20),
                                        Measured("perplexity-b", "pruned", "perplexity", 40),
                                        Measured("perplexity-a", "healed", "perplexity", 10)};
  const std::vector<GateResult> both = Judge(results, {{"max", 30.0}}, "perplexity");
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].verdict, Verdict::kPass);
  EXPECT_EQ(both[1].verdict, Verdict::kFail);
  const std::vector<GateResult> named =
      Judge(results, {{"max", 30.0}, {"on", std::string("perplexity-b")}}, "perplexity");
  ASSERT_EQ(named.size(), 1u);
  EXPECT_EQ(named[0].verdict, Verdict::kFail);
  const std::vector<GateResult> healed = Judge(results, {{"max", 30.0}, {"of", std::string("healed")}}, "perplexity");
  ASSERT_EQ(healed.size(), 1u);
  EXPECT_EQ(healed[0].detail, "10 [10, 10]");
}

}  // namespace
}  // namespace espalier
