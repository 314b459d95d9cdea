#include "espalier/analyze/interventions.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>

#include "espalier/analyze/analyze.h"
#include "espalier/model/forward.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// The planted model of four blocks: neuron (1, 7) writes 1000 to channel 11 of position 0, (3, 3) takes 960 away.
class Planting : public testing::Test {
 protected:
  at::NoGradGuard no_grad;
  const Model model = PlantedModel(1);
  const Tensor windows = PlantedIds(2, 6, 80);
  const Phenomena before = Analyze(model, windows, {}, "planted");

  Phenomena After(const char* text) const { return Analyze(Changed(text), windows, {}, text); }
  Model Changed(const char* text) const { return Intervene(model, ParseIntervention(text), before, windows); }
};

class Streams : public Observer {
 public:
  bool Wants(int64_t, Site site) const override {
    return site == Site::kBlockOutput || site == Site::kHeadOut || site == Site::kV;
  }
  void Observe(int64_t block, Site site, const Tensor& value) override { values[{block, site}] = value; }
  std::map<std::pair<int64_t, Site>, Tensor> values;
};

TEST_F(Planting, RemovingTheProducerTakesTheSpikeAway) {
  const Phenomena after = After("neuron:1.7");
  EXPECT_NEAR(before.LargestResidual(), 1000, 0.1);
  EXPECT_TRUE(after.step_up.empty());
  EXPECT_LT(after.LargestResidual(), 50);
}

TEST_F(Planting, ZeroTakesTheSpikingValueAndNothingElse) {
  Streams was, is;
  HiddenStates(model, windows, &was);
  HiddenStates(Changed("spike:zero"), windows, &is);
  const Tensor then = was.values.at({1, Site::kBlockOutput}), now = is.values.at({1, Site::kBlockOutput});
  Tensor expected = then.clone();
  expected.select(2, Planted::kSpike).select(1, 0).fill_(0);
  EXPECT_TRUE(at::equal(now, expected));
}

TEST_F(Planting, TheMeanOfAConstantSpikeChangesNothing) {
  Streams was, is;
  HiddenStates(model, windows, &was);
  HiddenStates(Changed("spike:mean"), windows, &is);
  // Every window's spike is the same 1000: its mean differs by float32 rounding only.
  EXPECT_LT(RelativeDifference(is.values.at({3, Site::kBlockOutput}), was.values.at({3, Site::kBlockOutput})), 1e-5);
}

TEST_F(Planting, ScaleMultipliesTheSpike) {
  Streams is;
  HiddenStates(Changed("spike:scale=0.25"), windows, &is);
  const Tensor spike = is.values.at({1, Site::kBlockOutput}).select(2, Planted::kSpike).select(1, 0);
  EXPECT_NEAR(spike.min().item<double>(), 250, 0.1);
  EXPECT_NEAR(spike.max().item<double>(), 250, 0.1);
}

TEST_F(Planting, TheMedianControlZeroesAsManyValuesOfMedianSizeAndLeavesTheSpike) {
  Streams was, is;
  HiddenStates(model, windows, &was);
  HiddenStates(Changed("median:zero"), windows, &is);
  const Tensor then = was.values.at({1, Site::kBlockOutput}), now = is.values.at({1, Site::kBlockOutput});
  const Tensor changed = (then != now).sum(2);                 // [6, 80]
  EXPECT_TRUE(changed.select(1, 0).le(1).all().item<bool>());  // one spiking value a token, so one at most
  EXPECT_EQ(changed.slice(1, 1).sum().item<int64_t>(), 0);
  EXPECT_TRUE(at::equal(now.select(2, Planted::kSpike), then.select(2, Planted::kSpike)));
}

TEST_F(Planting, TheMedianControlChangesTheLossByLessThanAHundredthOfWhatZeroingTheSpikeDoes) {
  const auto loss = [&](const Model& m) {
    const Tensor hidden = HiddenStates(m, windows);
    return TokenNll(m, hidden.slice(1, 0, -1).reshape({-1, model.config.C}), windows.slice(1, 1).reshape({-1}))
        .mean(at::kDouble)
        .item<double>();
  };
  const double dense = loss(model), spike = loss(Changed("spike:zero")), median = loss(Changed("median:zero"));
  EXPECT_GT(std::abs(spike - dense), 0);
  EXPECT_LT(std::abs(median - dense), 0.01 * std::abs(spike - dense)) << dense << " " << spike << " " << median;
}

TEST_F(Planting, RemovingTheSuperWeightTakesTheSpikeAwayAndTheOriginalIsUntouched) {
  const Tensor ids = windows.narrow(0, 0, 2);
  const Tensor original = Logits(model, ids);
  ASSERT_FALSE(before.super_weights.empty());
  EXPECT_LT(After("super_weight:remove").LargestResidual(), 50);
  EXPECT_TRUE(at::equal(Logits(model, ids), original));  // restored: nothing was written to it
  EXPECT_TRUE(at::equal(Logits(Changed("super_weight:scale=1"), ids), original));  // and put back, to the bit
}

TEST_F(Planting, AHeadMovedToTheFirstTokenReadsItsValueEverywhere) {
  Streams is;
  HiddenStates(Changed("bos:0.1"), windows, &is);
  const int64_t D = model.config.D, group = model.config.blocks[0].kv_of_head[1];
  const Tensor head = is.values.at({0, Site::kHeadOut}).narrow(2, D, D);              // [6, 80, D]
  const Tensor first = is.values.at({0, Site::kV}).select(1, group).narrow(1, 0, 1);  // [6, 1, D]
  EXPECT_TRUE(at::equal(head, first.expand_as(head)));
  Streams was;
  HiddenStates(model, windows, &was);
  EXPECT_TRUE(
      at::equal(is.values.at({0, Site::kHeadOut}).narrow(2, 0, D), was.values.at({0, Site::kHeadOut}).narrow(2, 0, D)));
}

TEST_F(Planting, TheControlLeavesTheKnownNeuronsAndTakesTheSameOthersEachTime) {
  const Model a = Changed("control:1x10"), b = Changed("control:1x10");
  const Tensor columns = (a.blocks[1].ffn.w_down.weight == 0).all(0);  // [F]
  EXPECT_EQ(columns.sum().item<int64_t>(), 10);
  EXPECT_FALSE(columns[Planted::kUpNeuron].item<bool>());
  EXPECT_TRUE(BitwiseEqual(a, b));
  EXPECT_NEAR(After("control:1x10").LargestResidual(), 1000, 1);
}

TEST_F(Planting, RefusesWhatIsNotThere) {
  EXPECT_EQ(MessageOf([&] { Changed("neuron:9.1"); }),
            "intervention 'neuron:9.1': no neuron 1 in block 9; the model has 4 blocks");
  const std::string head = MessageOf([&] { Changed("bos:0.99"); });
  EXPECT_TRUE(head.starts_with("intervention 'bos:0.99': no head 99 in block 0; the model has 4 blocks and ")) << head;
  const Model flat = PlantedModel(1, false);
  const Phenomena none = Analyze(flat, windows, {}, "flat");
  EXPECT_EQ(MessageOf([&] { Intervene(flat, ParseIntervention("spike:zero"), none, windows); }),
            "intervention 'spike:zero': nothing spikes in this model (spike_ratio 100)");
  EXPECT_EQ(MessageOf([&] { Intervene(flat, ParseIntervention("super_weight:remove"), none, windows); }),
            "intervention 'super_weight:remove': no super weight was found in this model");
}

TEST(ParseIntervention, ReadsEveryForm) {
  const Intervention two = ParseIntervention("neuron:11.1229+2.90");
  ASSERT_EQ(two.places.size(), 2u);
  EXPECT_EQ(two.places[0].block, 11);
  EXPECT_EQ(two.places[1].index, 90);
  EXPECT_EQ(ParseIntervention("control:11x10").count, 10);
  EXPECT_EQ(ParseIntervention("spike:scale=0.5").factor, 0.5);
  EXPECT_EQ(ParseIntervention("super_weight:remove").factor, 0);
  EXPECT_EQ(ParseIntervention("bos:3.1").kind, InterventionKind::kToFirst);
  EXPECT_EQ(ParseIntervention("median:zero").kind, InterventionKind::kMedian);
}

TEST(ParseIntervention, RefusesAnythingElseWithTheForms) {
  for (const char* text :
       {"", "spike", "spike:", "spike:half", "spike:scale=", "spike:scale=nan", "neuron:1", "neuron:1.2+",
        "neuron:-1.2", "control:1", "control:1x0", "bos:a.b", "median:mean", "other:1"})
    EXPECT_EQ(MessageOf([&] { ParseIntervention(text); }),
              "intervention '" + std::string(text) + "': expected one of " + std::string(InterventionForms()));
}

}  // namespace
}  // namespace espalier
