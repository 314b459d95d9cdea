#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "espalier/analyze/phenomena.h"
#include "espalier/core/error.h"
#include "espalier/core/json_reader.h"

namespace espalier {
namespace {

constexpr std::string_view kSchema = "espalier.phenomena/1";

Json BlockToJson(const BlockPhenomena& block, size_t number) {
  Json json = {{"block", number},
               {"residual_max", block.residual_max},
               {"residual_median", block.residual_median},
               {"output_max", block.output_max},
               {"first_token_mass", block.first_token_mass},
               {"sink_share", block.sink_share},
               {"top", Json::array()},
               {"heads", Json::array()}};
  for (const Peak& peak : block.top)
    json["top"].push_back(
        {{"channel", peak.channel}, {"sequence", peak.sequence}, {"position", peak.position}, {"value", peak.value}});
  for (const HeadPhenomena& head : block.heads)
    json["heads"].push_back({{"first_token_mass", head.first_token_mass}, {"sink", head.sink}});
  return json;
}

BlockPhenomena BlockFromJson(const JsonReader& reader, int64_t number) {
  reader.AllowOnly(
      {"block", "residual_max", "residual_median", "output_max", "first_token_mass", "sink_share", "top", "heads"});
  reader.Int("block", number, number);
  BlockPhenomena block;
  block.residual_max = reader.RealOrNan("residual_max");
  block.residual_median = reader.RealOrNan("residual_median");
  block.output_max = reader.RealOrNan("output_max");
  block.first_token_mass = reader.RealOrNan("first_token_mass");
  block.sink_share = reader.RealOrNan("sink_share");
  for (const JsonReader& peak : reader.Objects("top")) {
    peak.AllowOnly({"channel", "sequence", "position", "value"});
    block.top.push_back({peak.Int("channel"), peak.Int("sequence"), peak.Int("position"), peak.RealOrNan("value")});
  }
  for (const JsonReader& head : reader.Objects("heads")) {
    head.AllowOnly({"first_token_mass", "sink"});
    block.heads.push_back({head.RealOrNan("first_token_mass"), head.Bool("sink")});
  }
  return block;
}

Json NeuronToJson(const SpikeNeuron& neuron) {
  return {{"block", neuron.block},           {"index", neuron.index},      {"role", NeuronRoleName(neuron.role)},
          {"activation", neuron.activation}, {"channel", neuron.channel},  {"contribution", neuron.contribution},
          {"sequence", neuron.sequence},     {"position", neuron.position}};
}

NeuronRole RoleFromJson(const JsonReader& reader) {
  constexpr std::array kRoles = {NeuronRole::kStepUp, NeuronRole::kStepDown};
  const std::string name = reader.Text("role");
  std::vector<std::string> known;
  for (NeuronRole role : kRoles) {
    known.push_back(NeuronRoleName(role));
    if (name == known.back()) return role;
  }
  reader.Fail("role", UnknownName("role", name, known));
}

SpikeNeuron NeuronFromJson(const JsonReader& reader, int64_t last_block) {
  reader.AllowOnly({"block", "index", "role", "activation", "channel", "contribution", "sequence", "position"});
  SpikeNeuron neuron;
  neuron.block = reader.Int("block", 0, last_block);
  neuron.index = reader.Int("index");
  neuron.role = RoleFromJson(reader);
  neuron.activation = reader.RealOrNan("activation");
  neuron.channel = reader.Int("channel");
  neuron.contribution = reader.RealOrNan("contribution");
  neuron.sequence = reader.Int("sequence");
  neuron.position = reader.Int("position");
  return neuron;
}

Json SuperWeightToJson(const SuperWeight& weight) {
  return {{"block", weight.block}, {"row", weight.row},       {"column", weight.column},
          {"input", weight.input}, {"output", weight.output}, {"weight", weight.weight}};
}

SuperWeight SuperWeightFromJson(const JsonReader& reader, int64_t last_block) {
  reader.AllowOnly({"block", "row", "column", "input", "output", "weight"});
  return {reader.Int("block", 0, last_block), reader.Int("row"),          reader.Int("column"),
          reader.RealOrNan("input"),          reader.RealOrNan("output"), reader.RealOrNan("weight")};
}

void ReadScalars(const JsonReader& reader, Phenomena& phenomena) {
  phenomena.model = reader.Text("model");
  phenomena.sequences = reader.Int("sequences");
  phenomena.sequence_length = reader.Int("sequence_length");
  phenomena.sink_epsilon = reader.Real("sink_epsilon");
  phenomena.sink_length = reader.Int("sink_length");
  phenomena.sink_rate = reader.RealOrNan("sink_rate");
  phenomena.first_token_mass = reader.RealOrNan("first_token_mass");
}

}  // namespace

std::string NeuronRoleName(NeuronRole role) {
  return role == NeuronRole::kStepUp ? "step_up" : "step_down";
}

Json PhenomenaToJson(const Phenomena& phenomena) {
  Json json = {{"schema", kSchema},
               {"model", phenomena.model},
               {"sequences", phenomena.sequences},
               {"sequence_length", phenomena.sequence_length},
               {"sink_epsilon", phenomena.sink_epsilon},
               {"sink_length", phenomena.sink_length},
               {"sink_rate", phenomena.sink_rate},
               {"first_token_mass", phenomena.first_token_mass},
               {"spike_channels", phenomena.spike_channels},
               {"step_up_blocks", phenomena.step_up_blocks},
               {"step_down_blocks", phenomena.step_down_blocks},
               {"neurons", Json::array()},
               {"super_weights", Json::array()},
               {"blocks", Json::array()}};
  for (const SpikeNeuron& neuron : phenomena.neurons) json["neurons"].push_back(NeuronToJson(neuron));
  for (const SuperWeight& weight : phenomena.super_weights) json["super_weights"].push_back(SuperWeightToJson(weight));
  for (const BlockPhenomena& block : phenomena.blocks)
    json["blocks"].push_back(BlockToJson(block, json["blocks"].size()));
  return json;
}

Phenomena PhenomenaFromJson(const Json& json, const std::string& where) {
  const JsonReader reader(json, where);
  reader.ExpectSchema(kSchema);
  reader.AllowOnly({"schema", "model", "sequences", "sequence_length", "sink_epsilon", "sink_length", "sink_rate",
                    "first_token_mass", "spike_channels", "step_up_blocks", "step_down_blocks", "neurons",
                    "super_weights", "blocks"});
  Phenomena phenomena;
  ReadScalars(reader, phenomena);
  for (const JsonReader& block : reader.Objects("blocks"))
    phenomena.blocks.push_back(BlockFromJson(block, static_cast<int64_t>(phenomena.blocks.size())));
  const int64_t last_block = static_cast<int64_t>(phenomena.blocks.size()) - 1;
  phenomena.spike_channels = reader.Ints("spike_channels");
  phenomena.step_up_blocks = reader.Ints("step_up_blocks", 0, last_block);
  phenomena.step_down_blocks = reader.Ints("step_down_blocks", 0, last_block);
  for (const JsonReader& neuron : reader.Objects("neurons"))
    phenomena.neurons.push_back(NeuronFromJson(neuron, last_block));
  for (const JsonReader& weight : reader.Objects("super_weights"))
    phenomena.super_weights.push_back(SuperWeightFromJson(weight, last_block));
  return phenomena;
}

}  // namespace espalier
