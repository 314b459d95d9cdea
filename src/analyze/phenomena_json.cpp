#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "espalier/analyze/phenomena.h"
#include "espalier/core/error.h"
#include "espalier/core/json_fields.h"

namespace espalier {
namespace {

constexpr std::string_view kSchema = "espalier.phenomena/2";
constexpr std::array kNeuronRoles = {"step_up", "step_down"};
constexpr std::array kHeadClasses = {"non_sink", "no_op", "broadcast"};
constexpr std::array kGateForms = {"elementwise", "headwise", "sink_logit"};

}  // namespace

template <>
std::span<const char* const> EnumNames<NeuronRole>() {
  return kNeuronRoles;
}
template <>
std::span<const char* const> EnumNames<HeadClass>() {
  return kHeadClasses;
}
template <>
std::span<const char* const> EnumNames<GateForm>() {
  return kGateForms;
}

template <class V>
void Fields(V& visit, Sublayer& s) {
  visit("block", s.block);
  visit("attention", s.attention);
}

template <class V>
void Fields(V& visit, Peak& s) {
  visit("channel", s.channel);
  visit("sequence", s.sequence);
  visit("position", s.position);
  visit("value", s.value);
}

template <class V>
void Fields(V& visit, Census& s) {
  visit("residual_max", s.residual_max);
  visit("residual_median", s.residual_median);
  visit("residual_kurtosis", s.residual_kurtosis);
  visit("residual_top", s.residual_top);
  visit("output_max", s.output_max);
  visit("output_top", s.output_top);
}

template <class V>
void Fields(V& visit, Regime& s) {
  visit("spike_tokens", s.spike_tokens);
  visit("spike_cosine", s.spike_cosine);
  visit("spike_ratio", s.spike_ratio);
  visit("other_cosine", s.other_cosine);
  visit("other_ratio", s.other_ratio);
}

template <class V>
void Fields(V& visit, PostNorm& s) {
  visit("tokens", s.tokens);
  visit("largest", s.largest);
  visit("energy_share", s.energy_share);
  visit("cosine", s.cosine);
  visit("key_rank", s.key_rank);
}

template <class V>
void Fields(V& visit, HeadPhenomena& s) {
  visit("first_token_mass", s.first_token_mass);
  visit("alpha", s.alpha);
  visit("logit_gap", s.logit_gap);
  visit("logit_gap_deviation", s.logit_gap_deviation);
  visit("value_norm_ratio", s.value_norm_ratio);
  visit("output_norm", s.output_norm);
  visit("written_norm", s.written_norm);
  visit("class", s.head_class);
}

template <class V>
void Fields(V& visit, GatePhenomena& s) {
  visit("form", s.form);
  visit("mean", s.mean);
  visit("below_tenth", s.below_tenth);
  visit("histogram", s.histogram);
  visit("head_mean", s.head_mean);
  visit("head_below_tenth", s.head_below_tenth);
  visit("magnitude_before", s.magnitude_before);
  visit("magnitude_after", s.magnitude_after);
  visit("small_before", s.small_before);
  visit("small_after", s.small_after);
  visit("small_control", s.small_control);
}

template <class V>
void Fields(V& visit, BlockPhenomena& s) {
  visit("attention", s.attention);
  visit("ffn", s.ffn);
  visit("regime", s.regime);
  visit("post_norm", s.post_norm);
  visit("first_token_mass", s.first_token_mass);
  visit("sink_share", s.sink_share);
  visit("window", s.window);
  visit("heads", s.heads);
  visit("gate", s.gate);
}

template <class V>
void Fields(V& visit, SpikeNeuron& s) {
  visit("block", s.block);
  visit("index", s.index);
  visit("role", s.role);
  visit("activation", s.activation);
  visit("channel", s.channel);
  visit("contribution", s.contribution);
  visit("sequence", s.sequence);
  visit("position", s.position);
}

template <class V>
void Fields(V& visit, SuperWeight& s) {
  visit("block", s.block);
  visit("row", s.row);
  visit("column", s.column);
  visit("input", s.input);
  visit("output", s.output);
  visit("weight", s.weight);
}

template <class V>
void Fields(V& visit, Amplifier& s) {
  visit("block", s.block);
  visit("channel", s.channel);
  visit("norm", s.norm);
  visit("ratio", s.ratio);
  visit("eigenvalue", s.eigenvalue);
  visit("dominance", s.dominance);
  visit("cosine", s.cosine);
  visit("neuron", s.neuron);
  visit("neuron_share", s.neuron_share);
}

template <class V>
void Fields(V& visit, AmplifierScan& s) {
  visit("ratio_limit", s.ratio_limit);
  visit("block_norm", s.block_norm);
  visit("amplifiers", s.amplifiers);
  visit("census_neurons", s.census_neurons);
  visit("neurons_found", s.neurons_found);
  visit("census_writes", s.census_writes);
  visit("writes_found", s.writes_found);
}

template <class V>
void Fields(V& visit, OutlierToken& s) {
  visit("id", s.id);
  visit("text", s.text);
  visit("count", s.count);
  visit("first", s.first);
}

template <class V>
void Fields(V& visit, Outliers& s) {
  visit("ratio", s.ratio);
  visit("mean_per_sequence", s.mean_per_sequence);
  visit("prefix_length", s.prefix_length);
  visit("tokens", s.tokens);
}

template <class V>
void Fields(V& visit, VocabularyProbe& s) {
  visit("block", s.block);
  visit("threshold", s.threshold);
  visit("tokens", s.tokens);
  visit("spiking", s.spiking);
  visit("later_position", s.later_position);
  visit("later_tokens", s.later_tokens);
  visit("later_spiking", s.later_spiking);
  visit("exceptions", s.exceptions);
}

template <class V>
void Fields(V& visit, Phenomena& s) {
  visit("model", s.model);
  visit("family", s.family);
  visit("sequences", s.sequences);
  visit("sequence_length", s.sequence_length);
  visit("spike_ratio", s.spike_ratio);
  visit("sink_epsilon", s.sink_epsilon);
  visit("sink_length", s.sink_length);
  visit("no_op_ratio", s.no_op_ratio);
  visit("sink_rate", s.sink_rate);
  visit("first_token_mass", s.first_token_mass);
  visit("massive_mean", s.massive_mean);
  visit("sink_rate_by_position", s.sink_rate_by_position);
  visit("spike_channels", s.spike_channels);
  visit("step_up", s.step_up);
  visit("step_down", s.step_down);
  visit("blocks", s.blocks);
  visit("neurons", s.neurons);
  visit("super_weights", s.super_weights);
  visit("outliers", s.outliers);
  visit("scan", s.scan);
  visit("vocabulary", s.vocabulary);
  visit("notices", s.notices);
}

namespace {

// Whatever names a block must name one that there is.
void CheckBlocks(const Phenomena& phenomena, const std::string& where) {
  const auto check = [&](const char* list, int64_t block) {
    if (block >= static_cast<int64_t>(phenomena.blocks.size()))
      throw IoError(
          fmt::format("{}: {}: block {} of a model of {} blocks", where, list, block, phenomena.blocks.size()));
  };
  for (const Sublayer& step : phenomena.step_up) check("step_up", step.block);
  for (const Sublayer& step : phenomena.step_down) check("step_down", step.block);
  for (const SpikeNeuron& neuron : phenomena.neurons) check("neurons", neuron.block);
  for (const SuperWeight& weight : phenomena.super_weights) check("super_weights", weight.block);
}

// A document: the fields and a schema.
struct Document : Phenomena {
  std::string schema;
};
template <class V>
void Fields(V& visit, Document& s) {
  visit("schema", s.schema);
  Fields(visit, static_cast<Phenomena&>(s));
}

}  // namespace

std::string NeuronRoleName(NeuronRole role) {
  return kNeuronRoles[static_cast<size_t>(role)];
}

std::string HeadClassName(HeadClass head_class) {
  return kHeadClasses[static_cast<size_t>(head_class)];
}

std::string SublayerText(const Sublayer& sublayer) {
  return fmt::format("{}{}", sublayer.block, sublayer.attention ? "a" : "");
}

std::string SublayersText(const std::vector<Sublayer>& sublayers) {
  std::string text;
  for (const Sublayer& sublayer : sublayers) text += (text.empty() ? "" : ", ") + SublayerText(sublayer);
  return text.empty() ? "none" : text;
}

bool Phenomena::HasGates() const {
  return std::any_of(blocks.begin(), blocks.end(), [](const BlockPhenomena& block) {
    return block.gate && block.gate->form != GateForm::kSinkLogit;
  });
}

bool Phenomena::HasSinkLogits() const {
  return std::any_of(blocks.begin(), blocks.end(), [](const BlockPhenomena& block) {
    return block.gate && block.gate->form == GateForm::kSinkLogit;
  });
}

double Phenomena::LargestResidual() const {
  double largest = 0;
  for (const BlockPhenomena& block : blocks)
    largest = std::max({largest, block.attention.residual_max, block.ffn.residual_max});
  return largest;
}

Json PhenomenaToJson(const Phenomena& phenomena) {
  return FieldsToJson(Document{phenomena, std::string(kSchema)});
}

Phenomena PhenomenaFromJson(const Json& json, const std::string& where) {
  const JsonReader reader(json, where);
  reader.ExpectSchema(kSchema);
  const Phenomena phenomena = FieldsFromJson<Document>(reader);
  CheckBlocks(phenomena, where);
  return phenomena;
}

}  // namespace espalier
