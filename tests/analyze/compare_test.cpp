#include "espalier/analyze/compare.h"

#include <gtest/gtest.h>

#include "espalier/analyze/analyze.h"
#include "espalier/analyze/interventions.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

std::vector<std::string> Kinds(const std::vector<PhenomenonFlag>& flags) {
  std::vector<std::string> kinds;
  for (const PhenomenonFlag& flag : flags) kinds.push_back(FlagKindName(flag.kind));
  return kinds;
}
using Texts = std::vector<std::string>;

TEST(ComparePhenomena, FlagsAPlantedNeuronThatWasRemovedAndNotAnUnrelatedOne) {
  const Model model = PlantedModel(1);
  const at::Tensor windows = PlantedIds(2, 6, 80);
  const Phenomena dense = Analyze(model, windows, {}, "dense");
  const auto after = [&](const char* text) {
    return Analyze(Intervene(model, ParseIntervention(text), dense, windows), windows, {}, "pruned");
  };
  // Without the spike there is no sink either: the planted sink head attends to the spiking key.
  EXPECT_EQ(Kinds(ComparePhenomena(dense, after("neuron:1.7"))),
            (Texts{"step_up_lost", "protected_unit_touched", "spikes_lost", "sinks_collapsed"}));
  EXPECT_EQ(Kinds(ComparePhenomena(dense, after("neuron:1.8"))), Texts{});
  EXPECT_EQ(Kinds(ComparePhenomena(dense, dense)), Texts{});
}

Phenomena Measured() {
  Phenomena phenomena;
  phenomena.model = "dense";
  phenomena.sequences = 4;
  phenomena.sequence_length = 512;
  phenomena.sink_rate = 0.2;
  phenomena.blocks.resize(3);
  return phenomena;
}

TEST(ComparePhenomena, KnowsFromThePlanThatANeuronIsGoneThoughAnotherTookOver) {
  Phenomena before = Measured();
  before.step_up = {{1, false}};
  before.neurons = {{1, 7, NeuronRole::kStepUp, 400, 11, 1000, 0, 0},
                    {1, 9, NeuronRole::kStepUp, 40, 11, 100, 0, 0},
                    {2, 3, NeuronRole::kStepDown, 400, 11, -900, 0, 0}};
  const Phenomena after = before;
  EXPECT_EQ(Kinds(ComparePhenomena(before, after)), Texts{});
  const auto without = [](int64_t gone) { return [gone](int64_t, int64_t index) { return index != gone; }; };
  const auto flags = ComparePhenomena(before, after, without(9));
  ASSERT_EQ(Kinds(flags), Texts{"protected_unit_touched"});
  EXPECT_EQ(flags[0].text, "Step-up neuron 9 of block 1 was removed; it wrote 100 to channel 11.");
  EXPECT_EQ(Kinds(ComparePhenomena(before, after, without(3))), Texts{});  // a step-down neuron is free to go
}

TEST(ComparePhenomena, FlagsSinksThatCollapsedOrAppeared) {
  Phenomena before = Measured(), after = Measured();
  after.sink_rate = 0.09;
  EXPECT_EQ(ComparePhenomena(before, after).at(0).text, "The sink rate fell from 20.0 % to 9.0 % of the heads.");
  after.sink_rate = 0.11;
  EXPECT_EQ(Kinds(ComparePhenomena(before, after)), Texts{});
  after.sink_rate = 0.45;
  EXPECT_EQ(Kinds(ComparePhenomena(before, after)), Texts{"sinks_appeared"});
  before.sink_rate = 0.01;
  after.sink_rate = 0.05;  // five times as much of next to nothing
  EXPECT_EQ(Kinds(ComparePhenomena(before, after)), Texts{});
}

TEST(ComparePhenomena, FlagsSpikesThatAppeared) {
  const Phenomena before = Measured();
  Phenomena after = Measured();
  after.spike_channels = {5};
  after.blocks[1].ffn.residual_max = 900;
  EXPECT_EQ(ComparePhenomena(before, after).at(0).text, "Spikes appeared: the largest |h| rose from 0 to 900.");
}

TEST(ComparePhenomena, RefusesFiguresOfAnotherMeasurement) {
  Phenomena other = Measured();
  other.sequences = 8;
  EXPECT_EQ(MessageOf([&] { ComparePhenomena(Measured(), other); }),
            "dense was measured on 4 sequences of 512 tokens, sink epsilon 0.3 at T 64, spike ratio 100, dense on 8 "
            "sequences of 512 tokens, sink epsilon 0.3 at T 64, spike ratio 100; analyse both alike");
  other = Measured();
  other.blocks.pop_back();
  EXPECT_EQ(MessageOf([&] { ComparePhenomena(Measured(), other); }),
            "dense has 3 blocks, dense has 2; only checkpoints of one model can be compared");
}

}  // namespace
}  // namespace espalier
