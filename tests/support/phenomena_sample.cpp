#include "support/phenomena_sample.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "espalier/core/random.h"

namespace espalier {
namespace {

constexpr size_t kBlocks = 30, kHeads = 9;
constexpr double kPeak[kBlocks] = {31,    173,   810,   812,   815,   815,   817,   818,   402,   140,
                                   102,   24215, 24218, 24222, 24225, 24227, 24230, 24236, 24241, 24248,
                                   24255, 24263, 24270, 24281, 24290, 24301, 24315, 24322, 9915,  49};
constexpr double kSinks[kBlocks] = {0.02, 0.11, 0.62, 0.71, 0.76, 0.79, 0.8,  0.77, 0.7,  0.66,
                                    0.41, 0.38, 0.83, 0.88, 0.9,  0.91, 0.93, 0.92, 0.96, 0.94,
                                    0.95, 0.93, 0.9,  0.91, 0.86, 0.88, 0.84, 0.77, 0.52, 0.31};

// A figure in [low, high) of its own for each (kind, block, item) of a variant.
double Draw(uint64_t variant, uint64_t kind, uint64_t block, uint64_t item, double low, double high) {
  return low + (high - low) * RandomUnit(100 * variant + kind, block, item);
}

std::vector<Peak> Top(double largest) {
  return {{507, 0, 0, -largest}, {247, 0, 0, 0.0731 * largest}, {14, 0, 0, 0.0362 * largest}};
}

// What the half block adds: the whole step where it steps, little elsewhere.
Census TapOf(double before, double after, uint64_t variant, uint64_t half) {
  Census tap;
  tap.residual_max = after;
  tap.residual_median = 0.7 + 0.19 * static_cast<double>(half);
  tap.residual_kurtosis = 1.2 + std::log10(1 + after) * Draw(variant, 1, half, 0, 9, 11);
  tap.residual_top = Top(after);
  tap.output_max = std::max(std::fabs(after - before), Draw(variant, 2, half, 0, 4, 30));
  tap.output_top = Top(tap.output_max);
  return tap;
}

HeadPhenomena HeadOf(uint64_t variant, uint64_t block, uint64_t head, bool sink) {
  HeadPhenomena figures;
  const auto draw = [&](uint64_t kind, double low, double high) {
    return Draw(variant, kind, block, 16 + head, low, high);
  };
  figures.alpha = sink ? draw(3, 0.34, 0.93) : draw(3, 0.01, 0.28);
  figures.first_token_mass = figures.alpha * draw(4, 0.6, 0.95);
  figures.logit_gap = sink ? draw(5, 3, 9) : draw(5, -1, 2);
  figures.logit_gap_deviation = draw(6, 0.4, 1.9);
  figures.value_norm_ratio = sink && draw(7, 0, 1) > 0.16 ? draw(8, 0.02, 0.19) : draw(8, 0.3, 1.3);
  figures.output_norm = draw(9, 0.4, 3.1);
  figures.written_norm = figures.output_norm * draw(10, 0.7, 2.4);
  if (sink) figures.head_class = figures.value_norm_ratio < 0.2 ? HeadClass::kNoOp : HeadClass::kBroadcast;
  return figures;
}

void AddHeads(BlockPhenomena& block, uint64_t variant, uint64_t number, size_t heads, double sinks) {
  block.sink_share = sinks;
  const auto count = static_cast<size_t>(std::lround(sinks * static_cast<double>(heads)));
  for (size_t head = 0; head < heads; ++head) {
    const bool sink = (7 * head + 4 * number) % heads < count;  // spread over the heads, a different way in each block
    block.heads.push_back(HeadOf(variant, number, head, sink));
    block.first_token_mass += block.heads.back().first_token_mass / static_cast<double>(heads);
  }
}

void AddSpikeTokens(BlockPhenomena& block, uint64_t variant, uint64_t number, bool spikes) {
  const auto draw = [&](uint64_t kind, double low, double high) { return Draw(variant, kind, number, 0, low, high); };
  block.regime = {0, 0, 0, draw(11, 0.42, 0.55), draw(12, 0.18, 0.3)};
  if (!spikes) return;
  block.regime.spike_tokens = 16;
  block.regime.spike_cosine = draw(13, 0.97, 0.999);
  block.regime.spike_ratio = draw(14, 0.95, 0.999);
  block.post_norm = {16, draw(15, 0.9, 0.98), draw(16, 0.97, 0.999), draw(17, 0.98, 0.9999), draw(18, 1.02, 1.4)};
}

AmplifierScan SampleScan() {
  AmplifierScan scan;
  scan.ratio_limit = 10;
  for (size_t i = 0; i < kBlocks; ++i)
    scan.block_norm.push_back(i == 11 ? 95.1 : i == 28 ? 88.6 : i == 2 ? 41.2 : Draw(0, 19, i, 0, 2, 7));
  scan.amplifiers = {
      {11, 507, 95.1, 61.3, 91.8, 0.931, 1, 1229, 0.941},     {28, 507, 88.6, 57.1, -84.2, 0.903, 1, 678, 0.917},
      {2, 507, 41.2, 26.6, 38.3, 0.864, 1, 90, 0.882},        {29, 507, 36.7, 23.7, -27.1, 0.545, 1, 999, 0.512},
      {11, 247, 21.3, 13.7, 19.9, 0.873, 0.996, 1229, 0.902}, {28, 247, 18.9, 12.2, -16.1, 0.726, 0.991, 678, 0.871},
      {11, 14, 17.2, 11.1, 15.8, 0.844, 0.992, 1229, 0.893},  {8, 507, 15.9, 10.3, -9.7, 0.372, 1, 1188, 0.433}};
  scan.census_neurons = 9, scan.neurons_found = 7, scan.census_writes = 18, scan.writes_found = 8;
  return scan;
}

VocabularyProbe SampleProbe() {
  VocabularyProbe probe;
  probe.block = 11, probe.threshold = 482.5;
  probe.tokens = 49152, probe.spiking = 48913;
  probe.later_position = 8, probe.later_tokens = 512, probe.later_spiking = 3;
  for (std::string_view token : {"<|im_start|>", "<repo_name>", "\n\n", " ", "ॐ", " ", "\t\t", "𝔸", "�", "<file_sep>"})
    probe.exceptions.push_back({static_cast<int64_t>(3 + 1817 * probe.exceptions.size()), std::string(token), 0, 0});
  return probe;
}

void AddWriters(Phenomena& model) {
  model.spike_channels = {507, 247, 14};
  model.step_up = {{2, false}, {11, false}};
  model.step_down = {{8, false}, {9, false}, {28, false}, {29, true}, {29, false}};
  const auto up = NeuronRole::kStepUp, down = NeuronRole::kStepDown;
  model.neurons = {{11, 1229, up, 2678, 507, 21024, 0, 0},  {11, 1487, up, 856, 507, 3190, 0, 0},
                   {2, 90, up, 62.4, 507, 578, 3, 41},      {28, 678, down, 2363, 507, -14207, 0, 0},
                   {29, 999, down, 410, 507, -3518, 0, 0},  {29, 675, down, 318, 507, -2730, 0, 0},
                   {29, 1165, down, 269, 507, -2190, 0, 0}, {9, 200, down, 68.1, 507, -262, 3, 41},
                   {8, 1188, down, 15.3, 507, -116, 5, 17}};
  model.super_weights = {{11, 507, 1229, 2678, 21024, 7.8506}, {2, 507, 90, 62.4, 578, 9.2741}};
  model.outliers = {64, 3.25, 4, {{198, "\n", 61, 16}, {30, ".", 22, 0}, {28, ",", 9, 0}, {253, " the", 4, 2}}};
}

Phenomena Empty(const std::string& name, const std::string& family) {
  Phenomena model;
  model.model = name;
  model.family = family;
  model.sequences = 16;
  model.sequence_length = 512;
  return model;
}

void AddMeans(Phenomena& model, double sink_rate) {
  model.sink_rate = sink_rate;
  for (const BlockPhenomena& block : model.blocks) {
    const double count = static_cast<double>(model.blocks.size());
    model.first_token_mass += block.first_token_mass / count;
    model.massive_mean += block.ffn.residual_max / count;
  }
  for (int64_t k = 0; k < model.sink_length; ++k)
    model.sink_rate_by_position.push_back(sink_rate * std::pow(0.047, static_cast<double>(std::min<int64_t>(k, 3))));
}

// Scores fall off from `mean` as those of sigmoids do.
GatePhenomena GateOf(GateForm form, uint64_t block, size_t heads, double mean) {
  GatePhenomena gate;
  gate.form = form;
  gate.mean = mean;
  for (int bin = 0; bin < 20; ++bin)
    gate.histogram.push_back(static_cast<int64_t>(100000 * std::exp(-(bin + 0.5) / (20 * mean)) / (20 * mean)));
  gate.below_tenth = 1 - std::exp(-0.1 / mean);
  for (size_t head = 0; head < heads; ++head) {
    gate.head_mean.push_back(mean * Draw(7, 20, block, head, 0.3, 1.9));
    gate.head_below_tenth.push_back(1 - std::exp(-0.1 / gate.head_mean.back()));
  }
  gate.magnitude_before = Draw(7, 21, block, 0, 0.5, 0.9);
  gate.magnitude_after = gate.magnitude_before * mean * 0.6;
  gate.small_before = {0.021, 0.0022};
  gate.small_after = {0.41, 0.083};
  gate.small_control = {0.17, 0.0181};
  return gate;
}

Phenomena SmallModel(const std::string& name, const std::string& family, double sinks) {
  constexpr size_t kSmallBlocks = 12, kSmallHeads = 8;
  Phenomena model = Empty(name, family);
  double before = 4;
  for (uint64_t i = 0; i < kSmallBlocks; ++i) {
    BlockPhenomena block;
    const double middle = before + Draw(5, 1, i, 0, 1, 6), after = middle + Draw(5, 2, i, 0, 1, 6);
    block.attention = TapOf(before, middle, 5, 2 * i);
    block.ffn = TapOf(middle, after, 5, 2 * i + 1);
    AddHeads(block, 5, i, kSmallHeads, sinks * Draw(5, 3, i, 0, 0.5, 1.5));
    AddSpikeTokens(block, 5, i, false);
    before = after;
    model.blocks.push_back(block);
  }
  model.outliers.ratio = 64;
  return model;
}

}  // namespace

Phenomena SamplePhenomena(const std::string& name, uint64_t variant) {
  Phenomena model = Empty(name, "llama");
  double before = 6;
  for (uint64_t i = 0; i < kBlocks; ++i) {
    const double change = 1 - 0.0625 * static_cast<double>(variant);
    BlockPhenomena block;
    const double after = kPeak[i] * change, middle = i == 29 ? 0.4 * before : before * 1.002;
    block.attention = TapOf(before, middle, variant, 2 * i);
    block.ffn = TapOf(middle, after, variant, 2 * i + 1);
    AddHeads(block, variant, i, kHeads,
             std::min(1.0, kSinks[i] * (variant == 0 ? 1 : Draw(variant, 22, i, 0, 0.9, 1.05))));
    AddSpikeTokens(block, variant, i, i >= 2 && i < 29);
    before = after;
    model.blocks.push_back(block);
  }
  AddWriters(model);
  AddMeans(model, 0.8 - 0.0625 * static_cast<double>(variant));
  model.scan = SampleScan();
  model.vocabulary = SampleProbe();
  model.notices = {"Sink rates hold for these parameters only: alpha_1 > 0.3 at T 64 (arXiv 2410.10781).",
                   "A gate that is added later removes neither spikes nor sinks (arXiv 2505.06708, A.7)."};
  return model;
}

Phenomena SampleBroken() {
  Phenomena model = SamplePhenomena("pruned", 1);
  constexpr double kLeft = 0.034;  // of the residual stream: the first step alone
  for (size_t i = 11; i < kBlocks; ++i) {
    Census &attention = model.blocks[i].attention, &ffn = model.blocks[i].ffn;
    if (i > 11) attention.residual_max *= kLeft;
    if (i < 29) ffn.residual_max *= kLeft;
    attention.residual_top = Top(attention.residual_max), ffn.residual_top = Top(ffn.residual_max);
    if (i != 11 && i < 28) continue;
    attention.output_max = std::max(attention.output_max * kLeft, 9.5), ffn.output_max *= kLeft;
  }
  model.step_up.pop_back();
  model.neurons.erase(model.neurons.begin(), model.neurons.begin() + 2);
  model.super_weights.erase(model.super_weights.begin());
  model.scan->census_neurons = 7, model.scan->neurons_found = 5;
  model.vocabulary->spiking = 31180;
  model.massive_mean = 0;
  for (const BlockPhenomena& block : model.blocks) model.massive_mean += block.ffn.residual_max / kBlocks;
  model.sink_rate = 0.31;
  for (double& rate : model.sink_rate_by_position) rate *= 0.4;
  for (BlockPhenomena& block : model.blocks) {
    block.first_token_mass *= 0.4;
    for (HeadPhenomena& head : block.heads) {
      head.first_token_mass *= 0.4, head.alpha *= 0.4;
      if (head.alpha < 0.3) head.head_class = HeadClass::kNonSink;
    }
  }
  model.first_token_mass *= 0.4;
  return model;
}

Phenomena SampleGated() {
  Phenomena model = SmallModel("tiny-qwen3-gated", "qwen3_gated", 0.12);
  for (uint64_t i = 0; i < model.blocks.size(); ++i)
    model.blocks[i].gate = GateOf(i < 6 ? GateForm::kElementwise : GateForm::kHeadwise, i, model.blocks[i].heads.size(),
                                  0.06 + 0.025 * static_cast<double>(i));
  AddMeans(model, 0.0417);
  model.notices = {"Sink scores say little of a gated model: its heads need no sink to be silent."};
  return model;
}

Phenomena SampleSinkLogits() {
  Phenomena model = SmallModel("tiny-gpt-oss", "gpt_oss", 0.25);
  for (uint64_t i = 0; i < model.blocks.size(); ++i) {
    model.blocks[i].window = i % 2 == 0 ? 128 : 0;
    model.blocks[i].gate =
        GateOf(GateForm::kSinkLogit, i, model.blocks[i].heads.size(), 0.8 - 0.045 * static_cast<double>(i));
  }
  AddMeans(model, 0.104);
  return model;
}

}  // namespace espalier
