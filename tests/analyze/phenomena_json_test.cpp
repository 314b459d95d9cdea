#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "espalier/analyze/phenomena.h"
#include "support/support.h"

namespace espalier {
namespace {

Phenomena Small() {
  Phenomena phenomena;
  phenomena.model = "dense";
  phenomena.sequences = 16;
  phenomena.sequence_length = 512;
  phenomena.sink_epsilon = 0.25;
  phenomena.sink_length = 32;
  phenomena.sink_rate = 0.8;
  phenomena.first_token_mass = 0.35;
  phenomena.spike_channels = {507, 247};
  phenomena.step_up = {{1, false}};
  phenomena.step_down = {{0, true}};
  BlockPhenomena block;
  block.ffn.residual_max = 24215;
  block.ffn.residual_median = 0.7;
  block.ffn.residual_top = {{507, 3, 0, -24215}};
  block.ffn.output_max = 21024;
  block.first_token_mass = 0.5;
  block.sink_share = 0.75;
  block.heads.resize(2);
  block.heads[0].first_token_mass = 0.96;
  block.heads[0].head_class = HeadClass::kNoOp;
  block.heads[1].first_token_mass = 0.1;
  block.gate = GatePhenomena{GateForm::kHeadwise, 0.2,        0.5,        {3, 1}, {0.1, 0.3}, {1, 0}, 0.7, 0.05,
                             {0.1, 0.01},         {0.5, 0.1}, {0.2, 0.02}};
  phenomena.blocks = {BlockPhenomena{}, block};
  phenomena.neurons = {{1, 1229, NeuronRole::kStepUp, 2678, 507, 21024, 3, 0},
                       {0, 678, NeuronRole::kStepDown, 2363, 507, -14207, 2, 4}};
  phenomena.super_weights = {{1, 507, 1229, 2678, 21024, 7.85}};
  return phenomena;
}

TEST(PhenomenaJson, ReadsBackWhatItWrote) {
  const Json json = PhenomenaToJson(Small());
  const Phenomena read = PhenomenaFromJson(ParseJson(DumpJson(json), "p.json"), "p.json");
  // The text of the second writing equals the first, and these are in it:
  EXPECT_EQ(PhenomenaToJson(read), json);
  EXPECT_EQ(read.sink_epsilon, 0.25);
  EXPECT_EQ(read.sink_length, 32);
  EXPECT_EQ(read.spike_channels, (std::vector<int64_t>{507, 247}));
  ASSERT_EQ(read.blocks.size(), 2u);
  EXPECT_EQ(read.blocks[1].ffn.residual_top.at(0).value, -24215);
  EXPECT_EQ(read.blocks[1].ffn.residual_top.at(0).sequence, 3);
  EXPECT_EQ(read.blocks[1].heads.at(0).head_class, HeadClass::kNoOp);
  EXPECT_EQ(read.blocks[1].gate->small_after.at(1), 0.1);
  EXPECT_TRUE(read.step_down.at(0).attention);
  EXPECT_FALSE(read.blocks[0].gate);
  EXPECT_EQ(read.blocks[1].heads.at(1).first_token_mass, 0.1);
  EXPECT_EQ(read.neurons.at(1).role, NeuronRole::kStepDown);
  EXPECT_EQ(read.neurons.at(1).position, 4);
  EXPECT_EQ(read.super_weights.at(0).column, 1229);
}

TEST(PhenomenaJson, KeepsThatAFigureWasNotFinite) {
  Phenomena broken = Small();
  broken.blocks[1].ffn.residual_max = std::numeric_limits<double>::infinity();
  const Phenomena read = PhenomenaFromJson(ParseJson(DumpJson(PhenomenaToJson(broken)), "p.json"), "p.json");
  EXPECT_TRUE(std::isnan(read.blocks[1].ffn.residual_max));
}

TEST(PhenomenaJson, NamesFileAndKeyOfAMistake) {
  const auto with = [](const std::string& pointer, const Json& value) {
    Json json = PhenomenaToJson(Small());
    json[Json::json_pointer(pointer)] = value;
    return MessageOf([&] { PhenomenaFromJson(json, "p.json"); });
  };
  EXPECT_EQ(with("/neurons/0/role", "stepup"),
            "p.json: neurons[0].role: unknown role 'stepup'. Nearest: step_up. Known: step_up, step_down.");
  EXPECT_EQ(with("/step_up/0/block", 2), "p.json: step_up: block 2 of a model of 2 blocks");
  EXPECT_EQ(with("/blocks/1/heads", 3), "p.json: blocks[1].heads: expected a list of objects, found 3");
  EXPECT_EQ(with("/blocks/1/heads/0", "x"), "p.json: blocks[1].heads[0]: expected an object, found \"x\"");
  EXPECT_EQ(with("/sink_rate", "high"), "p.json: sink_rate: expected a number, found \"high\"");
  EXPECT_EQ(MessageOf([] { PhenomenaFromJson(Json::array(), "p.json"); }), "p.json: expected an object, found a list");
  EXPECT_EQ(MessageOf([] { PhenomenaFromJson(Json::object(), "p.json"); }), "p.json: schema: missing; expected a text");
}

}  // namespace
}  // namespace espalier
