// The forward pass against transformers: dumps made by scripts/make_parity_dump.py.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/io/text.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "fixture.h"
#include "support/support.h"

namespace espalier {
namespace {

// Values are of order 1 to 10; float32 sums over at most 64 products differ in the last digits only.
constexpr double kTight = 2e-5;

TEST(Llama, EveryTapMatchesTransformersOnATinyCheckpoint) {
  const at::NoGradGuard no_grad;
  const Model model = LoadModel(Fixture("tiny-llama"), at::kFloat, at::kCPU);
  const NamedTensors expected = LoadTensors(Fixture("tiny-llama/taps.safetensors"));
  TapComparer comparer(expected, kTight);
  Logits(model, expected.at("input_ids"), &comparer);
  EXPECT_EQ(comparer.compared, size_t{3 * 13 + 2});  // 3 blocks of 13 sites, final norm and logits
}

TEST(Llama, UntiedHeadBiasesAndLlama3RopeScalingMatchTransformers) {
  const at::NoGradGuard no_grad;
  const Model model = LoadModel(Fixture("tiny-llama-untied"), at::kFloat, at::kCPU);
  const NamedTensors expected = LoadTensors(Fixture("tiny-llama-untied/taps.safetensors"));
  EXPECT_EQ(model.config.rope.scaling, "llama3");
  EXPECT_LT(LargestDifference(Logits(model, expected.at("input_ids")), expected.at("logits")), 2e-5);
}

TEST(Llama, AnObserverLeavesTheLogitsBitEqual) {
  const at::NoGradGuard no_grad;
  const Model model = LoadModel(Fixture("tiny-llama"), at::kFloat, at::kCPU);
  const NamedTensors expected = LoadTensors(Fixture("tiny-llama/taps.safetensors"));
  TapComparer comparer(expected, kTight);
  EXPECT_TRUE(at::equal(Logits(model, expected.at("input_ids"), &comparer), Logits(model, expected.at("input_ids"))));
}

TEST(TokenNll, EqualsCrossEntropyOfTheWholeLogits) {
  const at::NoGradGuard no_grad;
  const Model model = LoadModel(Fixture("tiny-llama"), at::kFloat, at::kCPU);
  // 600 rows: three chunks of 256, the last one short.
  const at::Tensor ids = at::arange(600).remainder(64).unsqueeze(0);
  const at::Tensor hidden = HiddenStates(model, ids).squeeze(0);
  const at::Tensor targets = ids.squeeze(0).roll(-1);
  const at::Tensor whole = at::cross_entropy_loss(at::linear(hidden, model.Head()), targets, {}, at::Reduction::None);
  EXPECT_LT(LargestDifference(TokenNll(model, hidden, targets), whole), 1e-5);
}

class SmolModel : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (std::filesystem::exists(ModelPath())) model_ = new Model(LoadModel(ModelPath(), at::kFloat, at::kCPU));
  }
  static void TearDownTestSuite() {
    delete model_;
    model_ = nullptr;
  }
  void SetUp() override {
    if (model_ == nullptr) GTEST_SKIP() << "no model; scripts/setup fetches it";
  }
  static Model* model_;
};
Model* SmolModel::model_ = nullptr;

TEST_F(SmolModel, LogitsMatchTransformersWithinTwoThousandths) {
  const at::NoGradGuard no_grad;
  const NamedTensors expected = LoadTensors(Fixture("smollm2-logits.safetensors"));
  const at::Tensor ids = expected.at("input_ids").reshape({1, -1});
  const at::Tensor logits = Logits(*model_, ids).squeeze(0);  // [256, V]
  const at::Tensor rows =
      logits.index_select(0, expected.at("positions")).index_select(1, expected.at("logit_index").to(at::kLong));
  EXPECT_LT(LargestDifference(rows, expected.at("logits")), 2e-3);
  EXPECT_TRUE(at::equal(logits.argmax(1), expected.at("argmax")));
  EXPECT_LT(LargestDifference(logits.logsumexp(1), expected.at("logsumexp")), 2e-3);
}

TEST_F(SmolModel, BfloatSixteenStaysNearFloat) {
  const at::NoGradGuard no_grad;
  const NamedTensors expected = LoadTensors(Fixture("smollm2-logits.safetensors"));
  const Model half = CopyModel(*model_, at::kBFloat16, at::kCPU);
  const at::Tensor logits = Logits(half, expected.at("input_ids").reshape({1, -1})).squeeze(0).to(at::kFloat);
  // 8 bits of mantissa through 30 blocks: most predictions survive, exact values do not.
  EXPECT_GT((logits.argmax(1) == expected.at("argmax")).to(at::kFloat).mean().item<double>(), 0.85);
}

TEST_F(SmolModel, PerplexityOfFourWindowsIsTheReferences) {
  const at::NoGradGuard no_grad;
  const auto tokenizer = Tokenizer::Open(ModelPath());
  const std::vector<int32_t> ids =
      tokenizer->Encode(ReadCorpus({DataPath("wikitext-2/wiki.test.raw"), 0, std::nullopt}).documents.at(0));
  ASSERT_EQ(ids.size(), 303415u);
  const at::Tensor all = at::tensor(at::ArrayRef<int32_t>(ids), at::kInt).to(at::kLong);
  double sum = 0;
  for (int64_t window = 0; window < 4; ++window) {
    const at::Tensor tokens = all.slice(0, window * 2048, (window + 1) * 2048);
    const at::Tensor hidden = HiddenStates(*model_, tokens.unsqueeze(0)).squeeze(0);
    sum += TokenNll(*model_, hidden.slice(0, 0, -1), tokens.slice(0, 1)).sum(at::kDouble).item<double>();
  }
  EXPECT_NEAR(std::exp(sum / (4 * 2047)), 24.3395, 0.005);  // transformers, float32
}

}  // namespace
}  // namespace espalier
