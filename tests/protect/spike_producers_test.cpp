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
  return Registry<ProtectionRule>::Create("spike_producers", options)->Protect({model.config, phenomena});
}

// Those of one kind.
std::vector<Protection> Of(UnitKind kind, std::vector<Protection> protections) {
  std::erase_if(protections, [kind](const Protection& protection) { return protection.unit.kind != kind; });
  return protections;
}

TEST(SpikeProducers, ProtectsThePlantedProducerAndSaysWhy) {
  const std::vector<Protection> found = Of(UnitKind::kFfnChannel, Protect(false));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].unit, (Unit{Planted::kUpBlock, UnitKind::kFfnChannel, Planted::kUpNeuron}));
  EXPECT_EQ(found[0].rule, "spike_producers");
  EXPECT_EQ(found[0].reason,
            "step-up neuron: input of w_down reaches 400 and writes 1000 to residual channel 11 at position 0");
}

TEST(SpikeProducers, ProtectsConsumersOnlyOnRequest) {
  const std::vector<Protection> found = Of(UnitKind::kFfnChannel, Protect(true));
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[1].unit, (Unit{Planted::kDownBlock, UnitKind::kFfnChannel, Planted::kDownNeuron}));
  EXPECT_EQ(found[1].reason.substr(0, 17), "step-down neuron:");
}

TEST(SpikeProducers, ProtectSublayersAndBlocksOfTheStepUpAndTheMainStepDownAndTheSpikeChannel) {
  const std::vector<Protection> all = Protect(false);
  for (const UnitKind kind : {UnitKind::kFfn, UnitKind::kBlock}) {
    const std::vector<Protection> found = Of(kind, all);
    ASSERT_EQ(found.size(), 2u) << UnitKindName(kind);
    EXPECT_EQ(found[0].unit, (Unit{Planted::kUpBlock, kind, 0}));
    EXPECT_EQ(found[0].reason, "holds a step-up of the residual stream (sublayer 4 of 2L)");
    EXPECT_EQ(found[1].unit, (Unit{Planted::kDownBlock, kind, 0}));
    EXPECT_EQ(found[1].reason, "holds the main step-down of the residual stream (sublayer 8 of 2L)");
  }
  const std::vector<Protection> channels = Of(UnitKind::kResidualChannel, all);
  ASSERT_FALSE(channels.empty());
  EXPECT_EQ(channels[0].unit, (Unit{kWholeModel, UnitKind::kResidualChannel, Planted::kSpike}));
  EXPECT_TRUE(Of(UnitKind::kAttention, all).empty());
}

TEST(SpikeProducers, LeaveConsumersAloneByDefault) {
  const auto rule = Registry<ProtectionRule>::Create("spike_producers");
  Phenomena phenomena;
  phenomena.neurons.push_back({.block = 1, .index = 2, .role = NeuronRole::kStepDown});
  EXPECT_TRUE(rule->Protect({{}, phenomena}).empty());
}

}  // namespace
}  // namespace espalier
