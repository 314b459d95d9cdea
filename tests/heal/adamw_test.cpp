#include "../../src/heal/adamw.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "support/other_rank.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

HealOptions Unclipped() {
  HealOptions options;
  options.clip = 1e9;
  return options;
}

// One update; the gradients' norm before it.
double Update(AdamW& optimizer, double rate) {
  const double norm = optimizer.GradientNorm().item<double>();
  optimizer.Step(rate);
  return norm;
}

Trainable Parameter(const std::string& name, const Tensor& value) {
  return {name, value.clone().requires_grad_(true)};
}

TEST(AdamW, MovesByTheLearningRateInItsFirstStep) {
  // m = (1 - b1) g, v = (1 - b2) g^2; corrected they are g and g^2, so the step is lr * g / (|g| + eps), whatever g.
  const Trainable x = Parameter("x", at::tensor({1.f, 1.f, 1.f}));
  AdamW optimizer({x}, Unclipped());
  x.parameter.mutable_grad() = at::tensor({1e-3f, -5.f, 0.f});
  EXPECT_NEAR(Update(optimizer, 0.1), 5, 1e-5);
  EXPECT_TRUE(at::allclose(x.parameter.detach(), at::tensor({0.9f, 1.1f, 1.f}), 1e-4)) << x.parameter;
  EXPECT_FALSE(x.parameter.grad().defined());
}

TEST(AdamW, MatchesThePapersAlgorithmOverManySteps) {
  HealOptions options = Unclipped();
  options.weight_decay = 0.3;
  at::Generator generator = at::detail::createCPUGenerator(1);
  Tensor expected = at::empty({7, 1}, at::kDouble).normal_(0, 1, generator), m = at::zeros({7, 1}, at::kDouble),
         v = m.clone();
  const Trainable x = Parameter("x", expected.to(at::kFloat));
  AdamW optimizer({x}, options);
  for (int t = 1; t <= 20; ++t) {
    const Tensor g = at::empty({7, 1}, at::kDouble).normal_(0, 1, generator);
    const double rate = 0.05 / t;
    x.parameter.mutable_grad() = g.to(at::kFloat);
    Update(optimizer, rate);
    // Algorithm 2 of arXiv 1711.05101, with the decay scaled by the learning rate as everybody's code has it.
    m = options.beta1 * m + (1 - options.beta1) * g;
    v = options.beta2 * v + (1 - options.beta2) * g * g;
    const Tensor corrected =
        (m / (1 - std::pow(options.beta1, t))) / ((v / (1 - std::pow(options.beta2, t))).sqrt() + options.epsilon);
    expected = expected * (1 - rate * options.weight_decay) - rate * corrected;
  }
  EXPECT_LT(RelativeDifference(x.parameter.detach(), expected), 1e-5);
}

TEST(AdamW, DecaysWeightsAndNotNormsOrBiases) {
  HealOptions options = Unclipped();
  options.weight_decay = 0.5;
  const Trainable weight = Parameter("w", at::ones({2, 2})), norm = Parameter("n", at::ones({2}));
  AdamW optimizer({weight, norm}, options);  // no gradients: only the decay moves anything
  Update(optimizer, 0.1);
  EXPECT_TRUE(at::allclose(weight.parameter.detach(), at::full({2, 2}, 0.95)));
  EXPECT_TRUE(at::equal(norm.parameter.detach(), at::ones({2})));
}

TEST(AdamW, ClipsTheNormOfAllGradientsTogether) {
  // Gradients (3) and (4): norm 5, clipped to 0.5: a tenth of each. The second moment keeps it: v = 0.05 * 0.3^2.
  HealOptions options;
  options.clip = 0.5;
  const Trainable x = Parameter("x", at::zeros({1})), y = Parameter("y", at::zeros({1}));
  AdamW optimizer({x, y}, options);
  x.parameter.mutable_grad() = at::full({1}, 3.f);
  y.parameter.mutable_grad() = at::full({1}, 4.f);
  EXPECT_NEAR(Update(optimizer, 0.1), 5, 1e-5);
  NamedTensors state;
  optimizer.SaveTo(state);
  EXPECT_NEAR(state.at("mean.x").item<double>(), 0.1 * 0.3, 1e-6);
  EXPECT_NEAR(state.at("square.y").item<double>(), 0.05 * 0.16, 1e-6);
  EXPECT_EQ(state.at("steps.x").item<double>(), 1);
}

TEST(AdamW, GoesOnFromASavedStateBitByBit) {
  at::Generator generator = at::detail::createCPUGenerator(2);
  const Tensor start = at::empty({5}).normal_(0, 1, generator);
  std::vector<Tensor> grads;
  for (int t = 0; t < 6; ++t) grads.push_back(at::empty({5}).normal_(0, 1, generator));
  const auto run = [&](AdamW& optimizer, const Trainable& x, int from, int to) {
    for (int t = from; t < to; ++t) {
      x.parameter.mutable_grad() = grads[static_cast<size_t>(t)].clone();
      Update(optimizer, 0.1);
    }
  };
  const Trainable whole = Parameter("x", start), first = Parameter("x", start), second = Parameter("x", at::zeros({5}));
  AdamW uninterrupted({whole}, {}), before({first}, {}), after({second}, {});
  run(uninterrupted, whole, 0, 6);
  run(before, first, 0, 3);
  NamedTensors state;
  before.SaveTo(state);
  after.LoadFrom(state, "state");
  run(after, second, 3, 6);
  EXPECT_TRUE(at::equal(second.parameter, whole.parameter));
}

TEST(AdamW, InPartsMovesItsOwnParametersAndHoldsNoSumsOfTheOthers) {
  OtherRank comm;  // of two; it says nothing
  HealOptions options = Unclipped();
  options.comm = &comm;
  options.shard_optimizer = true;
  const Trainable own = Parameter("own", at::ones({6})), other = Parameter("other", at::ones({6}));
  AdamW optimizer({own, other}, options);
  for (const Trainable& x : {own, other}) x.parameter.mutable_grad() = at::ones({6});
  EXPECT_NEAR(Update(optimizer, 0.1), std::sqrt(12.0), 1e-5);  // clipping is by the norm of all gradients
  EXPECT_TRUE(at::allclose(own.parameter.detach(), at::full({6}, 0.9), 1e-4));
  EXPECT_TRUE(at::equal(other.parameter.detach(), at::ones({6})));
  EXPECT_FALSE(other.parameter.grad().defined());
  EXPECT_EQ(comm.received, 1);  // `other`, after the step
  NamedTensors state;
  optimizer.SaveTo(state);
  EXPECT_EQ(comm.received, 4);  // and its three sums
  EXPECT_TRUE(state.contains("mean.own") && state.contains("mean.other"));
}

TEST(AdamW, RefusesAStateThatDoesNotFit) {
  const Trainable x = Parameter("x", at::zeros({5}));
  AdamW optimizer({x}, {});
  NamedTensors state;
  optimizer.SaveTo(state);
  state["mean.x"] = at::zeros({4});
  EXPECT_EQ(MessageOf([&] { optimizer.LoadFrom(state, "state"); }),
            "state: 'mean.x' is missing or of another shape; delete this file to heal from the start");
}

}  // namespace
}  // namespace espalier
