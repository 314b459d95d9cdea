// Every cell of the zoo against a decoder written a second time, its gradients against differences, its parameters
// against the papers' tables.
#include "espalier/model/variants.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>

#include "espalier/core/error.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/forward.h"
#include "espalier/model/initialize.h"
#include "espalier/model/kv_cache.h"
#include "espalier/model/load.h"
#include "espalier/model/loss.h"
#include "espalier/model/unit_space.h"
#include "support/reference.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;
using Change = std::function<void(ModelConfig&)>;

constexpr double kTolerance = 2e-5;  // float32, sums in another order

ModelConfig SmallConfig() {
  ModelConfig config;
  config.family = "espalier";
  config.C = 12, config.V = 11, config.D = 4, config.max_positions = 64;
  config.tied_head = false;
  BlockConfig block;
  block.H = 4, block.G = 2, block.F = 10, block.kv_of_head = EvenKvOfHead(4, 2);
  config.blocks = {block, block};
  return config;
}

void SetGate(ModelConfig& config, GateKind kind) {
  for (BlockConfig& block : config.blocks) block.gate = kind;
}

// Off the identities and zeros of a new model, so that every part matters.
Model Shaken(const ModelConfig& config) {
  Model model = NewModel(config, 3);
  torch::manual_seed(11);
  for (const NamedTensorRef& ref : TensorsOf(model)) *ref.tensor = *ref.tensor + 0.3 * torch::randn_like(*ref.tensor);
  return model;
}

const Tensor& Ids() {
  static const Tensor ids = torch::tensor({{3, 1, 4, 1, 5, 9, 2}}, at::kLong);
  return ids;
}

// d/ds f(p + s g/|g|) is |g| for the gradient g.
void ExpectGradientOfDifferences(Model& model) {
  const std::vector<NamedTensorRef> refs = TensorsOf(model);
  for (const NamedTensorRef& ref : refs) *ref.tensor = ref.tensor->detach().requires_grad_(true);
  const auto loss = [&] {
    return NextTokenLoss(HiddenStates(model, Ids()).flatten(0, 1), model.Head(), Ids().flatten().roll(1));
  };
  loss().backward();
  double square = 0;
  for (const NamedTensorRef& ref : refs) {
    if (!model.config.blocks[0].HasFeedForward() && ref.name.find("ffn") != std::string::npos)
      continue;  // reads nothing
    ASSERT_TRUE(ref.tensor->grad().defined()) << ref.name;
    ASSERT_TRUE(ref.tensor->grad().isfinite().all().item<bool>()) << ref.name;
    EXPECT_GT(ref.tensor->grad().abs().max().item<double>(), 0) << ref.name << " learns nothing";
    square += ref.tensor->grad().square().sum().item<double>();
  }
  const torch::NoGradGuard no_grad;
  const double norm = std::sqrt(square), step = 1e-3;
  const auto move = [&](double by) {
    for (const NamedTensorRef& ref : refs)
      if (ref.tensor->grad().defined()) ref.tensor->add_(ref.tensor->grad(), by / norm);
  };
  const auto moved = [&](double by) {
    move(by);
    const double value = loss().item<double>();
    move(-by);
    return value;
  };
  EXPECT_NEAR((moved(step) - moved(-step)) / (2 * step), norm, 2e-2 * norm);  // float32 and the third derivative
}

void ExpectAsReference(const std::string& name, const Change& change) {
  SCOPED_TRACE(name);
  ModelConfig config = SmallConfig();
  change(config);
  Model model = Shaken(config);
  const Tensor expected = ReferenceLogits(model, Ids()[0]);
  EXPECT_LT(RelativeDifference(Logits(model, Ids())[0], expected), kTolerance);
  ExpectGradientOfDifferences(model);
}

TEST(NormVariants, EqualADecoderWrittenASecondTime) {
  for (const NormPlacement place :
       {NormPlacement::kPre, NormPlacement::kPost, NormPlacement::kSandwich, NormPlacement::kAfterAddition})
    for (const NormKind kind : {NormKind::kRms, NormKind::kDynamicTanh})
      ExpectAsReference(NameOf(place) + " " + NameOf(kind), [&](ModelConfig& config) {
        config.norm_placement = place;
        config.variants.norm = kind;
      });
  for (const QkNorm qk : {QkNorm::kPerHead, QkNorm::kAllHeads})
    ExpectAsReference("OLMo style " + NameOf(qk), [&](ModelConfig& config) {
      config.norm_placement = NormPlacement::kPost;
      config.qk_norm = qk;
    });
  ExpectAsReference("clipped outputs", [](ModelConfig& config) { config.variants.output_clip = 0.5; });
}

TEST(FeedForwardVariants, EqualADecoderWrittenASecondTime) {
  ExpectAsReference("plain GELU", [](ModelConfig& config) {
    config.variants.ffn = FfnKind::kPlain;
    config.activation = Activation::kGeluTanh;
  });
  ExpectAsReference("linear", [](ModelConfig& config) {
    config.variants.ffn = FfnKind::kLinear;
    for (BlockConfig& block : config.blocks) block.F = config.C;
  });
  ExpectAsReference("none", [](ModelConfig& config) {
    for (BlockConfig& block : config.blocks) block.F = 0;
    for (BlockConfig& block : config.blocks) block.gate = GateKind::kHeadwise;
  });
  ExpectAsReference("many narrow heads", [](ModelConfig& config) {
    config.D = 2;
    for (BlockConfig& block : config.blocks) block.H = 8, block.G = 8, block.kv_of_head = EvenKvOfHead(8, 8);
  });
  ExpectAsReference("one wide head", [](ModelConfig& config) {
    config.D = 32;
    for (BlockConfig& block : config.blocks) block.H = 1, block.G = 1, block.kv_of_head = {0};
  });
}

bool MakesSense(GateKind kind, GatePlace place, bool shared) {
  if (kind == GateKind::kSingle) return !shared;
  return place != GatePlace::kG5 || (kind == GateKind::kElementwise && !shared);
}

TEST(GateVariants, EqualADecoderWrittenASecondTime) {
  int cells = 0;
  for (const GateKind kind : {GateKind::kElementwise, GateKind::kHeadwise, GateKind::kSingle})
    for (const GatePlace place : {GatePlace::kG1, GatePlace::kG2, GatePlace::kG3, GatePlace::kG4, GatePlace::kG5})
      for (const bool shared : {false, true})
        for (const GateApply apply : {GateApply::kMultiply, GateApply::kAdd})
          for (const GateFunction function :
               {GateFunction::kSigmoid, GateFunction::kSilu, GateFunction::kIdentity, GateFunction::kNsSigmoid})
            for (const GateSignal signal :
                 {GateSignal::kState, GateSignal::kNone, GateSignal::kPosition, GateSignal::kToken}) {
              ModelConfig config = SmallConfig();
              SetGate(config, kind);
              config.variants.gate_place = place;
              config.variants.gate_shared = shared;
              config.variants.gate_apply = apply;
              config.variants.gate_function = function;
              config.variants.gate_signal = signal;
              if (!MakesSense(kind, place, shared)) {
                EXPECT_THROW(NewModel(config, 0), RecipeError);
                continue;
              }
              const torch::NoGradGuard no_grad;
              config.blocks.resize(1);  // there are many cells
              const Model model = Shaken(config);
              const Tensor ids = Ids().narrow(1, 0, 4);
              EXPECT_LT(RelativeDifference(Logits(model, ids)[0], ReferenceLogits(model, ids[0])), kTolerance)
                  << NameOf(kind) << " " << NameOf(place) << (shared ? " shared " : " ") << NameOf(apply) << " "
                  << NameOf(function) << " " << NameOf(signal);
              ++cells;
            }
  EXPECT_EQ(cells, (3 * 5 * 2 - 5 - 3) * 2 * 4 * 4);  // without shared singles, and three at G5 that need heads
}

TEST(GateVariants, HaveTheGradientOfDifferences) {
  for (const GatePlace place : {GatePlace::kG1, GatePlace::kG2, GatePlace::kG3, GatePlace::kG4, GatePlace::kG5})
    for (const GateSignal signal : {GateSignal::kState, GateSignal::kNone, GateSignal::kPosition, GateSignal::kToken})
      ExpectAsReference(NameOf(place) + " " + NameOf(signal), [&](ModelConfig& config) {
        SetGate(config, place == GatePlace::kG2 ? GateKind::kSingle : GateKind::kElementwise);
        config.variants.gate_place = place;
        config.variants.gate_signal = signal;
      });
  for (const GateFunction function : {GateFunction::kSilu, GateFunction::kIdentity, GateFunction::kNsSigmoid})
    for (const GateApply apply : {GateApply::kMultiply, GateApply::kAdd})
      ExpectAsReference(NameOf(function) + " " + NameOf(apply), [&](ModelConfig& config) {
        SetGate(config, GateKind::kHeadwise);
        config.variants.gate_function = function;
        config.variants.gate_apply = apply;
        config.variants.gate_shared = apply == GateApply::kMultiply;
      });
}

TEST(HeadTransforms, EqualADecoderWrittenASecondTime) {
  for (const HeadTransform transform : {HeadTransform::kRmsNorm, HeadTransform::kSilu})
    for (const GateKind gate : {GateKind::kNone, GateKind::kHeadwise})
      ExpectAsReference(NameOf(transform) + " " + NameOf(gate), [&](ModelConfig& config) {
        config.variants.head_transform = transform;
        SetGate(config, gate);
      });
}

TEST(AttentionVariants, EqualADecoderWrittenASecondTime) {
  for (const AttentionWeights weights : {AttentionWeights::kSoftmax, AttentionWeights::kSoftmax1,
                                         AttentionWeights::kSoftpick, AttentionWeights::kClipped})
    for (const bool kv_bias : {false, true})
      ExpectAsReference(NameOf(weights) + (kv_bias ? " with key and value biases" : ""), [&](ModelConfig& config) {
        config.variants.weights = weights;
        config.variants.kv_bias = kv_bias;
      });
  ExpectAsReference("sink logits", [](ModelConfig& config) {
    for (BlockConfig& block : config.blocks) block.sink_logits = true;
  });
  ExpectAsReference("sink logits under a transform and a gate", [](ModelConfig& config) {
    for (BlockConfig& block : config.blocks) block.sink_logits = true;
    config.variants.head_transform = HeadTransform::kSilu;
    SetGate(config, GateKind::kElementwise);
  });
}

TEST(SinkLogits, AtMinusInfinityAreSoftmaxAndAtZeroSoftmax1) {
  const torch::NoGradGuard no_grad;
  ModelConfig config = SmallConfig();
  const Model plain = Shaken(config);
  for (BlockConfig& block : config.blocks) block.sink_logits = true;
  Model with_sinks = plain;
  with_sinks.config = config;
  const auto set = [&](double value) {
    for (Block& block : with_sinks.blocks) block.attention.sink_logits = torch::full({4}, value);
  };
  set(-1e30);
  EXPECT_LT(RelativeDifference(Logits(with_sinks, Ids()), Logits(plain, Ids())), 1e-6);
  set(0);
  Model softmax1 = plain;
  softmax1.config.variants.weights = AttentionWeights::kSoftmax1;
  EXPECT_LT(RelativeDifference(Logits(with_sinks, Ids()), Logits(softmax1, Ids())), 1e-6);
  EXPECT_GT(RelativeDifference(Logits(softmax1, Ids()), Logits(plain, Ids())), 1e-3);
}

TEST(Softpick, OfZeroLogitsIsZeroWithFiniteGradients) {
  ModelConfig config = SmallConfig();
  config.variants.weights = AttentionWeights::kSoftpick;
  Model model = Shaken(config);
  for (Block& block : model.blocks) block.attention.w_q.weight.zero_();
  struct Seen final : Observer {
    Tensor probs;
    bool Wants(int64_t, Site site) const override { return site == Site::kAttnProbs; }
    void Observe(int64_t, Site, const Tensor& value) override { probs = value; }
  } seen;
  for (const NamedTensorRef& ref : TensorsOf(model)) ref.tensor->requires_grad_(true);
  Logits(model, Ids(), &seen).sum().backward();
  EXPECT_EQ(seen.probs.abs().max().item<double>(), 0);
  for (const NamedTensorRef& ref : TensorsOf(model))
    EXPECT_TRUE(!ref.tensor->grad().defined() || ref.tensor->grad().isfinite().all().item<bool>()) << ref.name;
}

TEST(Softpick, StaysFiniteForLogitsThatExponentialsDoNotHold) {
  ModelConfig config = SmallConfig();
  config.variants.weights = AttentionWeights::kSoftpick;
  Model model = Shaken(config);
  for (Block& block : model.blocks) block.attention.w_q.weight.mul_(1e4);
  EXPECT_TRUE(Logits(model, Ids()).isfinite().all().item<bool>());
}

TEST(ClippedSoftmax, ReachesZeroAndOneExactly) {
  ModelConfig config = SmallConfig();
  config.variants.weights = AttentionWeights::kClipped;
  config.variants.clip_low = -0.1, config.variants.clip_high = 1.1;
  struct Seen final : Observer {
    double low = 1, high = 0;
    bool Wants(int64_t, Site site) const override { return site == Site::kAttnProbs; }
    void Observe(int64_t, Site, const Tensor& value) override {
      low = std::min(low, value.select(2, value.size(2) - 1).min().item<double>());  // nothing is masked there
      high = std::max(high, value.max().item<double>());
    }
  } seen;
  Model model = Shaken(config);
  for (Block& block : model.blocks) block.attention.w_q.weight.mul_(5);
  Logits(model, Ids(), &seen);
  EXPECT_EQ(seen.low, 0);
  EXPECT_EQ(seen.high, 1);
}

// One attention block of each layer at the shape of arXiv 2505.06708, Table 1: 24 layers, C 2048, 32 query and 4 key
// heads of 128.
double AddedMillions(
    GateKind kind, const Change& change = [](ModelConfig&) {}) {
  ModelConfig config;
  config.C = 2048, config.V = 1000, config.D = 128;
  BlockConfig block;
  block.H = 32, block.G = 4, block.F = 768, block.kv_of_head = EvenKvOfHead(32, 4);
  config.blocks.assign(24, block);
  const int64_t before = CountParameters(config);
  SetGate(config, kind);
  change(config);
  return static_cast<double>(CountParameters(config) - before) / 1e6;
}

Change At(GatePlace place, bool shared = false) {
  return [=](ModelConfig& config) { config.variants.gate_place = place, config.variants.gate_shared = shared; };
}

TEST(GateVariants, AddTheParametersOfThePaper) {
  // Table 1, column "Added param (M)", rows 5 to 15; half a unit of its last digit.
  EXPECT_NEAR(AddedMillions(GateKind::kElementwise, At(GatePlace::kG1)), 201, 0.5);
  EXPECT_NEAR(AddedMillions(GateKind::kElementwise, At(GatePlace::kG2)), 25, 0.5);
  EXPECT_NEAR(AddedMillions(GateKind::kElementwise, At(GatePlace::kG3)), 25, 0.5);
  EXPECT_NEAR(AddedMillions(GateKind::kElementwise, At(GatePlace::kG4)), 201, 0.5);
  EXPECT_NEAR(AddedMillions(GateKind::kElementwise, At(GatePlace::kG5)), 100, 0.7);  // 100.66
  EXPECT_NEAR(AddedMillions(GateKind::kHeadwise, At(GatePlace::kG1)), 1.6, 0.05);
  EXPECT_NEAR(AddedMillions(GateKind::kHeadwise, At(GatePlace::kG2)), 0.2, 0.05);
  EXPECT_NEAR(AddedMillions(GateKind::kElementwise, At(GatePlace::kG1, true)), 201, 0.5);
  EXPECT_NEAR(AddedMillions(GateKind::kElementwise, At(GatePlace::kG2, true)), 25, 0.5);
  EXPECT_NEAR(AddedMillions(GateKind::kElementwise, [](ModelConfig& c) { c.variants.gate_apply = GateApply::kAdd; }),
              201, 0.5);
  EXPECT_NEAR(
      AddedMillions(GateKind::kElementwise, [](ModelConfig& c) { c.variants.gate_function = GateFunction::kSilu; }),
      201, 0.5);
  // By hand: a vector of 32 * 128 a layer; one row of C a layer; one of 32 * 128 and of 4 * 128 twice.
  EXPECT_DOUBLE_EQ(
      AddedMillions(GateKind::kElementwise, [](ModelConfig& c) { c.variants.gate_signal = GateSignal::kNone; }),
      24 * 4096 / 1e6);
  EXPECT_DOUBLE_EQ(AddedMillions(GateKind::kSingle), 24 * 2048 / 1e6);
  EXPECT_DOUBLE_EQ(AddedMillions(GateKind::kNone, [](ModelConfig& c) { c.variants.kv_bias = true; }),
                   24 * 2 * 512 / 1e6);
}

TEST(NewModel, HasAsManyParametersAsItsConfigurationSays) {
  for (const NormPlacement place :
       {NormPlacement::kPre, NormPlacement::kPost, NormPlacement::kSandwich, NormPlacement::kAfterAddition}) {
    ModelConfig config = SmallConfig();
    config.norm_placement = place;
    config.variants.norm = NormKind::kDynamicTanh;
    config.variants.ffn = FfnKind::kPlain;
    config.variants.kv_bias = true;
    SetGate(config, GateKind::kSingle);
    EXPECT_EQ(CountParameters(NewModel(config, 0)), CountParameters(config));
  }
  // By hand: embedding and head 2 * 11 * 12; norms 5 * 12; a block 4 * 4 * 12 * 2 + 2 * 4 * 12 * 2 + 3 * 10 * 12 = 936.
  EXPECT_EQ(CountParameters(SmallConfig()), 264 + 60 + 2 * 936);
}

TEST(NewModel, OfOneSeedSharesWhatVariantsHaveInCommon) {
  ModelConfig config = SmallConfig();
  const Model plain = NewModel(config, 7);
  SetGate(config, GateKind::kElementwise);
  config.norm_placement = NormPlacement::kSandwich;
  const Model gated = NewModel(config, 7);
  EXPECT_TRUE(torch::equal(plain.blocks[1].attention.w_k.weight, gated.blocks[1].attention.w_k.weight));
  EXPECT_FALSE(torch::equal(plain.blocks[0].attention.w_k.weight, plain.blocks[1].attention.w_k.weight));
  EXPECT_FALSE(torch::equal(plain.embedding, NewModel(config, 8).embedding));
}

TEST(StudyModels, AreRefusedWhereTheyMeanNothing) {
  ModelConfig config = SmallConfig();
  config.variants.ffn = FfnKind::kLinear;
  EXPECT_THROW(NewModel(config, 0), RecipeError);  // F is not C
  config = SmallConfig();
  config.variants.weights = AttentionWeights::kSoftpick;
  EXPECT_THROW(CountUnits(config, 0, UnitKind::kQueryHead), RecipeError);
  EXPECT_THROW(KvCache(NewModel(config, 0), {.sinks = 1, .recent = 4}), RecipeError);
  for (BlockConfig& block : config.blocks) block.sink_logits = true;
  EXPECT_THROW(NewModel(config, 0), RecipeError);
}

TEST(StudyModels, WithACacheContinueAsWithout) {
  for (const GateSignal signal : {GateSignal::kState, GateSignal::kPosition, GateSignal::kToken}) {
    const torch::NoGradGuard no_grad;
    ModelConfig config = SmallConfig();
    SetGate(config, GateKind::kHeadwise);
    config.variants.gate_place = GatePlace::kG2;
    config.variants.gate_signal = signal;
    config.variants.kv_bias = true;
    const Model model = Shaken(config);
    KvCache cache(model);
    const Tensor first = HiddenStates(model, Ids().narrow(1, 0, 4), cache);
    const Tensor rest = HiddenStates(model, Ids().narrow(1, 4, 3), cache);
    EXPECT_LT(RelativeDifference(torch::cat({first, rest}, 1), HiddenStates(model, Ids())), 1e-5);
  }
}

}  // namespace
}  // namespace espalier
