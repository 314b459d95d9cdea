#include <gtest/gtest.h>

#include "espalier/analyze/analyze.h"
#include "espalier/protect/rule.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

std::vector<Protection> Protect(bool consumers) {
  const Model model = PlantedModel(1);
  const Phenomena phenomena = Analyze(model, PlantedIds(1, 2, 64), {}, "dense");
  Options options(Registry<ProtectionRule>::Find("spike_producers").info.options, {{"consumers", consumers}}, "test");
  return Registry<ProtectionRule>::Create("spike_producers", options)->Protect(model.config, phenomena);
}

TEST(SpikeProducers, ProtectsThePlantedProducerAndSaysWhy) {
  const std::vector<Protection> found = Protect(false);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].unit, (Unit{Planted::kUpBlock, UnitKind::kFfnChannel, Planted::kUpNeuron}));
  EXPECT_EQ(found[0].rule, "spike_producers");
  EXPECT_EQ(found[0].reason,
            "step-up neuron: input of w_down reaches 400 and writes 1000 to residual channel 11 at position 0");
}

TEST(SpikeProducers, ProtectsConsumersOnlyOnRequest) {
  const std::vector<Protection> found = Protect(true);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[1].unit, (Unit{Planted::kDownBlock, UnitKind::kFfnChannel, Planted::kDownNeuron}));
  EXPECT_EQ(found[1].reason.substr(0, 17), "step-down neuron:");
}

TEST(SpikeProducers, LeaveConsumersAloneByDefault) {
  const auto rule = Registry<ProtectionRule>::Create("spike_producers");
  Phenomena phenomena;
  phenomena.neurons.push_back({.block = 1, .index = 2, .role = NeuronRole::kStepDown});
  EXPECT_TRUE(rule->Protect({}, phenomena).empty());
}

}  // namespace
}  // namespace espalier
