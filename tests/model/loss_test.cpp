#include "espalier/model/loss.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>

#include "espalier/core/memory.h"
#include "espalier/model/forward.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

Tensor Normal(uint64_t seed, at::IntArrayRef shape) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::empty(shape, at::kFloat).normal_(0, 1, generator);
}

Tensor Leaf(const Tensor& value) {
  return value.clone().requires_grad_(true);
}

TEST(NextTokenLoss, MatchesCrossEntropyAndItsGradients) {
  // 600 rows: three chunks of 256, the last one short.
  const Tensor targets = RandomIds(1, 1, 600, 50).flatten();
  const Tensor hidden = Leaf(Normal(1, {600, 8})), head = Leaf(Normal(2, {50, 8}));
  const Tensor hidden2 = Leaf(hidden.detach()), head2 = Leaf(head.detach());
  // Scaled, so that the incoming gradient is not one.
  const Tensor loss = NextTokenLoss(hidden, head, targets) * 3;
  const Tensor expected = at::cross_entropy_loss(at::linear(hidden2, head2), targets) * 3;
  loss.backward();
  expected.backward();
  EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-5);
  EXPECT_LT(RelativeDifference(hidden.grad(), hidden2.grad()), 1e-5);
  EXPECT_LT(RelativeDifference(head.grad(), head2.grad()), 1e-5);
}

// Bytes that the process needs at most while `loss` of hidden states is formed and taken back, beyond what it has.
int64_t PeakOf(const std::function<Tensor()>& loss) {
  ResetPeakMemory();
  const int64_t before = PeakMemory();
  loss().backward();
  return PeakMemory() - before;
}

TEST(NextTokenLoss, HoldsAChunkOfLogitsWhereThePlainLossHoldsThemAll) {
  // 2,048 tokens over 20,000: logits of 164 MB. Alive at once in the plain loss: the logits' log-softmax and their
  // gradient at least. Here: a chunk of 256 rows, 20 MB, a few times, and the head's gradient of 2.6 MB.
  constexpr int64_t kTokens = 2048, kVocabulary = 20000, kLogits = kTokens * kVocabulary * 4;
  const Tensor targets = RandomIds(1, 1, kTokens, kVocabulary).flatten();
  const Tensor hidden = Leaf(Normal(1, {kTokens, 32})), head = Leaf(Normal(2, {kVocabulary, 32}));
  const int64_t ours = PeakOf([&] { return NextTokenLoss(hidden, head, targets); });
  if (ours == 0) GTEST_SKIP() << "this kernel does not let a process reset its peak memory";
  const int64_t plain = PeakOf([&] { return at::cross_entropy_loss(at::linear(hidden, head), targets); });
  RecordProperty("bytes", std::to_string(ours));
  RecordProperty("plain_bytes", std::to_string(plain));
  EXPECT_GT(plain, 2 * kLogits - kLogits / 8);
  EXPECT_LT(ours, kLogits / 2);
}

TEST(NextTokenLoss, MatchesAnExampleWorkedByHand) {
  // Logits (ln 3, 0) for target 0: probability 3/4; (0, 0) for target 1: 1/2. Mean of -ln: (ln 4/3 + ln 2) / 2.
  // Gradient of the first row's logits: (3/4 - 1, 1/4) / 2.
  const Tensor hidden = Leaf(at::tensor({std::log(3.f), 0.f, 0.f, 0.f}).view({2, 2})), head = at::eye(2);
  const Tensor loss = NextTokenLoss(hidden, head, at::tensor({0, 1}, at::kLong));
  loss.backward();
  EXPECT_NEAR(loss.item<double>(), (std::log(4.0 / 3) + std::log(2.0)) / 2, 1e-6);
  EXPECT_NEAR(hidden.grad()[0][0].item<double>(), -0.125, 1e-6);
  EXPECT_NEAR(hidden.grad()[0][1].item<double>(), 0.125, 1e-6);
  EXPECT_NEAR(hidden.grad()[1][1].item<double>(), -0.25, 1e-6);
}

TEST(NextTokenLoss, MakesNoGradientForAHeadThatDoesNotLearn) {
  const Tensor hidden = Leaf(Normal(3, {10, 4})), head = Normal(4, {7, 4});
  NextTokenLoss(hidden, head, RandomIds(3, 1, 10, 7).flatten()).backward();
  EXPECT_TRUE(hidden.grad().defined());
  EXPECT_FALSE(head.grad().defined());
}

TEST(DistillationLoss, MatchesAutogradOverWholeLogits) {
  const Tensor targets = RandomIds(5, 1, 300, 40).flatten();
  const Tensor taught = Normal(6, {300, 6}), teacher_head = Normal(7, {40, 6});
  for (const TokenLossWeights weights : {TokenLossWeights{1, 0.5, 1}, {0, 1, 2}, {0.25, 2, 0.5}}) {
    const Tensor hidden = Leaf(Normal(8, {300, 8})), head = Leaf(Normal(9, {40, 8}));
    const Tensor hidden2 = Leaf(hidden.detach()), head2 = Leaf(head.detach());
    const Tensor loss = DistillationLoss(hidden, head, targets, taught, teacher_head, weights) * 3;
    const Tensor logits = at::linear(hidden2, head2);
    const Tensor log_q = at::log_softmax(logits / weights.temperature, 1);
    const Tensor log_p = at::log_softmax(at::linear(taught, teacher_head) / weights.temperature, 1);
    const Tensor kl = (log_p.exp() * (log_p - log_q)).sum(1).mean() * weights.temperature * weights.temperature;
    const Tensor expected = (weights.next_token * at::cross_entropy_loss(logits, targets) + weights.logits * kl) * 3;
    loss.backward();
    expected.backward();
    EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-4);
    EXPECT_LT(RelativeDifference(hidden.grad(), hidden2.grad()), 1e-5);
    EXPECT_LT(RelativeDifference(head.grad(), head2.grad()), 1e-5);
  }
}

TEST(DistillationLoss, OfATeacherThatIsTheStudentIsTheNextTokenLoss) {
  const Tensor targets = RandomIds(5, 1, 20, 40).flatten(), hidden = Normal(8, {20, 8}), head = Normal(9, {40, 8});
  const double mixed = DistillationLoss(hidden, head, targets, hidden, head, {1, 3, 2}).item<double>();
  EXPECT_NEAR(mixed, NextTokenLoss(hidden, head, targets).item<double>(), 1e-6);
}

// The same by autograd over whole logits [N, V] float64: a distribution over the top and the rest.
Tensor OfTheTop(const Tensor& logits, const Tensor& taught, const Tensor& targets, const TokenLossWeights& weights) {
  const Tensor q = at::softmax(logits / weights.temperature, 1), all = at::softmax(taught / weights.temperature, 1);
  const Tensor ids = std::get<1>(all.topk(weights.top, 1));
  const auto with_rest = [&](const Tensor& whole) {
    return at::cat({whole.gather(1, ids), whole.scatter(1, ids, 0).sum(1, true)}, 1);
  };
  const Tensor p = with_rest(all), kl = (p * (p.log() - with_rest(q).log())).sum(1).mean();
  return weights.next_token * at::cross_entropy_loss(logits, targets) +
         weights.logits * weights.temperature * weights.temperature * kl;
}

TEST(DistillationLoss, OfTheTopTeachesAStudentThatIsSureOfItself) {
  // The student puts 1 - 2e-9 on what the teacher gives 0.6: the rest, 0.4 of the teacher, must pull with all of it.
  const Tensor targets = at::zeros({1}, at::kLong), taught = at::tensor({0.6f, 0.1f, 0.3f}).log().view({1, 3});
  const Tensor hidden = Leaf(at::tensor({20.7f, 0.f, 0.f}).view({1, 3})), head = at::eye(3);
  const Tensor hidden2 = Leaf(hidden.detach().to(at::kDouble));
  const TokenLossWeights weights{0, 1, 1, 1};
  DistillationLoss(hidden, head, targets, taught, head, weights).backward();
  OfTheTop(hidden2, taught.to(at::kDouble), targets, weights).backward();
  EXPECT_LT(RelativeDifference(hidden.grad(), hidden2.grad()), 1e-4);
  EXPECT_NEAR(hidden.grad()[0][0].item<double>(), 0.4, 1e-4);
}

TEST(DistillationLoss, OfTheTopTakesTheRestTogether) {
  // 40 tokens, the teacher's 5 likeliest kept: a distribution over 6 outcomes, by autograd over whole logits.
  const Tensor targets = RandomIds(5, 1, 300, 40).flatten();
  const Tensor taught = Normal(6, {300, 6}), teacher_head = Normal(7, {40, 6});
  for (const TokenLossWeights weights : {TokenLossWeights{1, 0.5, 1, 5}, {0, 1, 2, 5}, {0.25, 2, 0.5, 39}}) {
    const Tensor hidden = Leaf(Normal(8, {300, 8})), head = Leaf(Normal(9, {40, 8}));
    const Tensor hidden2 = Leaf(hidden.detach().to(at::kDouble)), head2 = Leaf(head.detach().to(at::kDouble));
    const Tensor loss = DistillationLoss(hidden, head, targets, taught, teacher_head, weights) * 3;
    const Tensor expected =
        OfTheTop(at::linear(hidden2, head2), at::linear(taught, teacher_head).to(at::kDouble), targets, weights) * 3;
    loss.backward();
    expected.backward();
    EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 2e-4);
    EXPECT_LT(RelativeDifference(hidden.grad(), hidden2.grad()), 1e-4);
    EXPECT_LT(RelativeDifference(head.grad(), head2.grad()), 1e-4);

    const Tensor kept =
        DistillationLoss(hidden, head, targets, TopOf(taught, teacher_head, weights.top, weights.temperature), weights);
    EXPECT_EQ((kept * 3).item<double>(), loss.item<double>());
  }
}

TEST(DistillationLoss, OfEveryTokenInTheTopIsThatOfAll) {
  const Tensor targets = RandomIds(5, 1, 20, 12).flatten();
  const Tensor hidden = Normal(8, {20, 8}), head = Normal(9, {12, 8}), taught = Normal(6, {20, 8});
  EXPECT_NEAR(DistillationLoss(hidden, head, targets, taught, head, {1, 1, 2, 12}).item<double>(),
              DistillationLoss(hidden, head, targets, taught, head, {1, 1, 2, 0}).item<double>(), 1e-4);
}

TEST(NextTokenLoss, StaysFiniteForHugeLogits) {
  const Tensor hidden = Leaf(at::full({4, 2}, 1e4f)), head = at::tensor({1.f, 1.f, -1.f, -1.f}).view({2, 2});
  const Tensor loss = NextTokenLoss(hidden, head, at::ones({4}, at::kLong));
  loss.backward();
  EXPECT_NEAR(loss.item<double>(), 4e4, 1);  // ln(1 + e^40000) = 40000
  EXPECT_TRUE(hidden.grad().isfinite().all().item<bool>());
}

TEST(Checkpointed, GivesGradientsEqualBitByBit) {
  // A whole block, with respect to its input and to every one of its weights.
  Model kept = TinyModel(5), again = CopyModel(kept, at::kFloat, at::kCPU);
  const Rope rope = MakeRope(kept.config, 9, at::kCPU, at::kFloat);
  const auto run = [&](Model& model, bool checkpointed) {
    for (const NamedTensorRef& ref : TensorsOf(model)) ref.tensor->requires_grad_(true);
    const Tensor x = Leaf(Normal(6, {2, 9, 16}));
    const auto two_blocks = [&](const Tensor& h) { return RunBlock(model, 1, RunBlock(model, 0, h, rope), rope); };
    const Tensor y = checkpointed ? Checkpointed(two_blocks, x, model.final_norm) : two_blocks(x);
    (y * Normal(7, {2, 9, 16})).sum().backward();
    return std::pair{y.detach(), x.grad()};
  };
  const auto [y, x_grad] = run(kept, false);
  const auto [y_again, x_grad_again] = run(again, true);
  EXPECT_TRUE(at::equal(y, y_again));
  EXPECT_TRUE(at::equal(x_grad, x_grad_again));
  const std::vector<NamedTensorRef> a = TensorsOf(kept), b = TensorsOf(again);
  int compared = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!a[i].name.starts_with("block0") && !a[i].name.starts_with("block1")) continue;
    EXPECT_TRUE(at::equal(a[i].tensor->grad(), b[i].tensor->grad())) << a[i].name;
    ++compared;
  }
  EXPECT_EQ(compared, 18);  // two norms and seven weights of each block
}

TEST(Checkpointed, LearnsThroughAnInputThatNeedsNoGradient) {
  const Tensor weight = Leaf(at::full({3}, 2.f)), x = at::full({3}, 5.f);
  Checkpointed([&](const Tensor& in) { return in * weight; }, x, weight).sum().backward();
  EXPECT_TRUE(at::equal(weight.grad(), x));
}

TEST(Checkpointed, CallsItsFunctionAgainInTheBackwardPassOnly) {
  int calls = 0;
  const Tensor weight = Leaf(at::ones({2}));
  const Tensor y = Checkpointed(
      [&](const Tensor& in) {
        ++calls;
        return in * weight;
      },
      at::ones({2}), weight);
  EXPECT_EQ(calls, 1);
  y.sum().backward();
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace espalier
