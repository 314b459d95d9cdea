#include "espalier/heal/method.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <set>

#include "espalier/model/forward.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

std::unique_ptr<HealingMethod> Make(const std::string& name, std::map<std::string, OptionValue> options = {}) {
  return Registry<HealingMethod>::Create(
      name, Options(Registry<HealingMethod>::Find(name).info.options, std::move(options), "test"));
}

class EveryMethod : public testing::TestWithParam<std::string> {};

TEST_P(EveryMethod, ChangesNothingUntilSomethingIsLearned) {
  const Model model = TinyModel(1, {.biases = true});
  const Tensor ids = RandomIds(1, 2, 10, model.config.V);
  Model learner = CopyModel(model, at::kFloat, at::kCPU);
  const auto method = Make(GetParam());
  EXPECT_FALSE(method->Attach(learner, 3).empty());
  EXPECT_TRUE(at::equal(Logits(learner, ids).detach(), Logits(model, ids)));
  const at::NoGradGuard no_grad;
  method->Merge(learner);
  EXPECT_TRUE(BitwiseEqual(learner, model));
  for (const NamedTensorRef& ref : TensorsOf(learner)) EXPECT_FALSE(ref.tensor->requires_grad()) << ref.name;
}

TEST_P(EveryMethod, GivesEveryParameterItsOwnNameAndAGradient) {
  Model model =
      TinyModel(2, {.blocks = {{4, 2, 24}, {0, 0, 20}, {2, 1, 0}}});  // absent sublayers have nothing to learn
  const std::vector<Trainable> trainables = Make(GetParam())->Attach(model, 1);
  Logits(model, RandomIds(2, 2, 10, model.config.V)).square().sum().backward();
  std::set<std::string> names;
  for (const Trainable& trainable : trainables) {
    EXPECT_TRUE(names.insert(trainable.name).second) << trainable.name;
    EXPECT_TRUE(trainable.parameter.requires_grad() && trainable.parameter.is_leaf());
    const bool unused = trainable.name == "block1.attention_norm" || trainable.name == "block2.ffn_norm";
    EXPECT_EQ(trainable.parameter.grad().defined(), !unused) << trainable.name;
  }
  EXPECT_FALSE(model.embedding.requires_grad());
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryMethod, testing::ValuesIn(Registry<HealingMethod>::Names()),
                         [](const testing::TestParamInfo<std::string>& test) { return test.param; });

TEST(Lora, MergedEqualsUnmerged) {
  const Model model = TinyModel(3);
  Model learner = CopyModel(model, at::kFloat, at::kCPU);
  const auto method = Make("lora", {{"rank", int64_t{3}}, {"alpha", 6.0}});
  at::Generator generator = at::detail::createCPUGenerator(4);
  const at::NoGradGuard no_grad;
  for (Trainable& trainable : method->Attach(learner, 5))
    trainable.parameter.normal_(0, 0.3, generator);  // as if trained
  const Tensor ids = RandomIds(3, 2, 10, model.config.V);
  const Tensor unmerged = Logits(learner, ids);
  EXPECT_GT(RelativeDifference(unmerged, Logits(model, ids)), 0.1);
  method->Merge(learner);
  for (const Block& block : learner.blocks)
    for (const Role role : kRoles) EXPECT_FALSE(block.At(role).low_rank);
  EXPECT_LT(RelativeDifference(Logits(learner, ids), unmerged), 1e-5);
}

TEST(Lora, AddsAlphaOverRankTimesTheProductByHand) {
  // W = 0, A = (1 2), B = (3; 4), alpha 8, rank 1... scale 8: 8 * (3; 4) (1 2) = (24 48; 32 64).
  Model model;
  model.config.C = 2;
  model.blocks.resize(1);
  model.blocks[0].attention.w_q.weight = at::zeros({2, 2});
  const auto method = Make("lora", {{"rank", int64_t{1}}, {"alpha", 8.0}, {"roles", std::vector<std::string>{"w_q"}}});
  std::vector<Trainable> trainables = method->Attach(model, 0);
  ASSERT_EQ(trainables.size(), 2u);
  EXPECT_EQ(trainables[0].name, "block0.w_q.lora_a");
  EXPECT_TRUE(trainables[1].parameter.eq(0).all().item<bool>());  // B starts at zero
  const at::NoGradGuard no_grad;
  trainables[0].parameter.copy_(at::tensor({1.f, 2.f}).view({1, 2}));
  trainables[1].parameter.copy_(at::tensor({3.f, 4.f}).view({2, 1}));
  method->Merge(model);
  EXPECT_TRUE(at::equal(model.blocks[0].attention.w_q.weight, at::tensor({24.f, 48.f, 32.f, 64.f}).view({2, 2})));
}

TEST(Lora, LearnsInTheRolesItIsGivenOnly) {
  Model model = TinyModel(6);
  EXPECT_EQ(Make("lora", {{"roles", std::vector<std::string>{"w_down", "w_v"}}})->Attach(model, 0).size(), 3u * 2 * 2);
  EXPECT_TRUE(model.blocks[0].ffn.w_down.low_rank);
  EXPECT_FALSE(model.blocks[0].ffn.w_up.low_rank);
}

TEST(Lora, StartsFromTheSeedAlone) {
  const auto start = [](uint64_t seed) {
    Model model = TinyModel(7);
    return Make("lora")->Attach(model, seed)[0].parameter.detach();
  };
  EXPECT_TRUE(at::equal(start(1), start(1)));
  EXPECT_FALSE(at::equal(start(1), start(2)));
  EXPECT_LE(start(1).abs().max().item<double>(), 0.25);  // uniform within 1 / sqrt(16)
}

TEST(Full, TrainsTheEmbeddingAndHeadOnlyOnRequest) {
  const auto names = [](bool embedding) {
    Model model = TinyModel(8, {.tied_head = false});
    std::set<std::string> found;
    for (const Trainable& trainable : Make("full", {{"embedding", embedding}})->Attach(model, 0))
      found.insert(trainable.name);
    return found;
  };
  EXPECT_EQ(names(false).size(), 3u * 9 + 1);
  EXPECT_FALSE(names(false).contains("embedding"));
  EXPECT_TRUE(names(true).contains("embedding") && names(true).contains("head"));
}

}  // namespace
}  // namespace espalier
