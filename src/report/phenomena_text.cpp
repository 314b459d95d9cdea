#include "espalier/report/phenomena_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/log.h"
#include "espalier/report/format.h"

namespace espalier {
namespace {

constexpr size_t kListed = 6, kNamedNeurons = 3;  // items of a list in running text

std::string AndMore(std::vector<std::string> items, size_t listed) {
  const size_t more = items.size() > listed ? items.size() - listed : 0;
  items.resize(items.size() - more);
  return fmt::format("{}{}", fmt::join(items, ", "), more > 0 ? fmt::format(" and {} more", more) : "");
}

KeyFigure Size(const char* name, double value) {
  return {name, FormatCell(value), KeyFigure::Kind::kSize, value};
}

KeyFigure Share(const char* name, double value) {
  return {name, FormatShare(value), KeyFigure::Kind::kShare, value};
}

KeyFigure Count(const char* name, int64_t value) {
  return {name, FormatCount(value), KeyFigure::Kind::kCount, static_cast<double>(value)};
}

KeyFigure Words(const char* name, const std::string& text) {
  return {name, text};
}

std::string NeuronsText(const Phenomena& phenomena, NeuronRole role) {
  std::vector<std::string> items;
  for (const SpikeNeuron& neuron : StrongestFirst(phenomena.neurons))
    if (neuron.role == role) items.push_back(fmt::format("({}, {})", neuron.block, neuron.index));
  return AndMore(items, kNamedNeurons);
}

// Over both taps of all blocks.
template <class Value>
double Largest(const Phenomena& phenomena, const Value& value) {
  double largest = 0;
  for (const BlockPhenomena& block : phenomena.blocks)
    largest = std::max({largest, value(block.attention), value(block.ffn)});
  return largest;
}

void AddGates(const Phenomena& phenomena, std::vector<KeyFigure>& figures) {
  const GateMeans gates = MeanGate(phenomena, false), logits = MeanGate(phenomena, true);
  if (gates.blocks > 0) {
    figures.push_back(Size("mean gate score", gates.mean));
    figures.push_back(Share("gate scores below 0.1", gates.below_tenth));
  }
  if (logits.blocks > 0) figures.push_back(Size("mean effective gate", logits.mean));
}

std::string ChangeText(const KeyFigure& before, const KeyFigure& after) {
  if (before.text == after.text) return "";
  if (before.kind == KeyFigure::Kind::kText) return "changed";
  const double difference = after.value - before.value;
  if (!std::isfinite(difference)) return "";
  if (before.kind == KeyFigure::Kind::kShare) return fmt::format("{:+.1f} points", 100 * difference);
  if (before.kind == KeyFigure::Kind::kCount) return fmt::format("{:+.0f}", difference);
  return before.value > 0 ? FormatRatio(after.value / before.value) : "";
}

}  // namespace

HeadCounts CountHeads(const BlockPhenomena& block) {
  HeadCounts counts;
  for (const HeadPhenomena& head : block.heads) {
    ++counts.heads;
    if (head.head_class == HeadClass::kNoOp) ++counts.no_op;
    if (head.head_class == HeadClass::kBroadcast) ++counts.broadcast;
  }
  return counts;
}

HeadCounts CountHeads(const Phenomena& phenomena) {
  HeadCounts sum;
  for (const BlockPhenomena& block : phenomena.blocks) {
    const HeadCounts counts = CountHeads(block);
    sum = {sum.heads + counts.heads, sum.no_op + counts.no_op, sum.broadcast + counts.broadcast};
  }
  return sum;
}

GateMeans MeanGate(const Phenomena& phenomena, bool sink_logits) {
  GateMeans means;
  for (const BlockPhenomena& block : phenomena.blocks) {
    if (!block.gate || (block.gate->form == GateForm::kSinkLogit) != sink_logits) continue;
    ++means.blocks;
    means.mean += block.gate->mean;
    means.below_tenth += block.gate->below_tenth;
  }
  const double blocks = std::max<double>(1, static_cast<double>(means.blocks));
  return {means.blocks, means.mean / blocks, means.below_tenth / blocks};
}

std::vector<KeyFigure> KeyFigures(const Phenomena& phenomena) {
  const HeadCounts heads = CountHeads(phenomena);
  std::vector<KeyFigure> figures = {
      Size("largest |h|", phenomena.LargestResidual()),
      Size("largest |h| over the median", Largest(phenomena, [](const Census& tap) { return tap.Ratio(); })),
      Size("largest write before addition", Largest(phenomena, [](const Census& tap) { return tap.output_max; })),
      Size("M-Act, mean over blocks", phenomena.massive_mean),
      Words("spike channels", ChannelsText(phenomena.spike_channels)),
      Words("step-up blocks", SublayersText(phenomena.step_up)),
      Words("step-down blocks", SublayersText(phenomena.step_down)),
      Count("spike neurons", static_cast<int64_t>(phenomena.neurons.size())),
      Count("super weights", static_cast<int64_t>(phenomena.super_weights.size())),
      Share("sink rate", phenomena.sink_rate),
      Size("attention to the first token", phenomena.first_token_mass),
      Count("heads", heads.heads),
      Count("sink heads, no-op", heads.no_op),
      Count("sink heads, broadcast", heads.broadcast)};
  AddGates(phenomena, figures);
  figures.push_back(Size("outlier tokens of a sequence", phenomena.outliers.mean_per_sequence));
  if (phenomena.vocabulary) figures.push_back(Share("vocabulary that spikes first", phenomena.vocabulary->Share()));
  return figures;
}

std::vector<KeyFigureRow> CompareKeyFigures(const std::vector<Phenomena>& models) {
  std::vector<KeyFigureRow> rows;
  std::vector<std::optional<KeyFigure>> first;
  for (size_t model = 0; model < models.size(); ++model) {
    size_t next = 0;  // where a name that is not there yet belongs: after the one before it
    for (const KeyFigure& figure : KeyFigures(models[model])) {
      auto row = std::find_if(rows.begin(), rows.end(), [&](const auto& other) { return other.name == figure.name; });
      if (row == rows.end()) {
        first.insert(first.begin() + static_cast<std::ptrdiff_t>(next), std::nullopt);
        row = rows.insert(rows.begin() + static_cast<std::ptrdiff_t>(next),
                          {figure.name, std::vector<std::string>(models.size()), ""});
      }
      const auto at = static_cast<size_t>(row - rows.begin());
      row->texts[model] = figure.text;
      if (model == 0) first[at] = figure;
      if (model == 1 && first[at]) row->change = ChangeText(*first[at], figure);
      next = at + 1;
    }
  }
  return rows;
}

std::string ChannelsText(const std::vector<int64_t>& channels) {
  std::vector<std::string> items;
  for (int64_t channel : channels) items.push_back(fmt::format("{}", channel));
  return items.empty() ? "none" : AndMore(items, kListed);
}

std::string PeakText(const std::vector<Peak>& top) {
  return top.empty() ? "" : fmt::format("{}@{}", top.front().channel, top.front().position);
}

std::string PaperText(int64_t block) {
  return fmt::format("{}, {}", Sublayer{block, true}.PaperNumber(), Sublayer{block, false}.PaperNumber());
}

std::string TokenText(const std::string& text) {
  std::string shown = "\"";
  for (char c : text) shown += c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : std::string(1, c);
  return CleanText(shown + "\"");
}

std::string ClassText(HeadClass head_class) {
  return head_class == HeadClass::kNoOp ? "no-op" : head_class == HeadClass::kBroadcast ? "broadcast" : "non-sink";
}

std::string RoleText(NeuronRole role) {
  return role == NeuronRole::kStepUp ? "step-up" : "step-down";
}

std::string GateFormText(GateForm form) {
  return form == GateForm::kElementwise ? "elementwise" : form == GateForm::kHeadwise ? "headwise" : "sink logit";
}

std::string TokensText(const Phenomena& phenomena) {
  return fmt::format("{} tokens ({} windows of {})", FormatCount(phenomena.sequences * phenomena.sequence_length),
                     FormatCount(phenomena.sequences), FormatCount(phenomena.sequence_length));
}

std::vector<SpikeNeuron> StrongestFirst(std::vector<SpikeNeuron> neurons) {
  // What is not finite comes last: a sort needs an order of all values.
  const auto size = [](const SpikeNeuron& neuron) {
    return std::isfinite(neuron.contribution) ? std::fabs(neuron.contribution) : -1;
  };
  std::stable_sort(neurons.begin(), neurons.end(),
                   [&](const SpikeNeuron& a, const SpikeNeuron& b) { return size(a) > size(b); });
  return neurons;
}

const Amplifier* FindAmplifier(const Phenomena& phenomena, const SpikeNeuron& neuron) {
  if (!phenomena.scan) return nullptr;
  for (const Amplifier& amplifier : phenomena.scan->amplifiers)
    if (amplifier.block == neuron.block && amplifier.channel == neuron.channel) return &amplifier;
  return nullptr;
}

std::string SpikeSentence(const Phenomena& phenomena) {
  const double ratio = Largest(phenomena, [](const Census& tap) { return tap.Ratio(); });
  const size_t channels = phenomena.spike_channels.size();
  if (channels == 0)
    return fmt::format("No channel spikes: the largest |h| is {} medians, a spike needs {:g}.", FormatFigure(ratio),
                       phenomena.spike_ratio);
  const bool one = channels == 1;
  std::string text =
      fmt::format("{} {} {} to {} medians of |h|: up in block {}, down in {}.", one ? "Channel" : "Channels",
                  ChannelsText(phenomena.spike_channels), one ? "spikes" : "spike", FormatFigure(ratio),
                  SublayersText(phenomena.step_up), SublayersText(phenomena.step_down));
  const std::string up = NeuronsText(phenomena, NeuronRole::kStepUp);
  const std::string down = NeuronsText(phenomena, NeuronRole::kStepDown);
  if (!up.empty()) text += fmt::format(" Written by FFN neurons {}", up);
  if (!up.empty() && !down.empty()) text += ",";
  if (!down.empty()) text += fmt::format(" {} by {}", up.empty() ? "Cleared" : "cleared", down);
  return text + (up.empty() && down.empty() ? "" : ".");
}

std::string SinkSentence(const Phenomena& phenomena) {
  const HeadCounts heads = CountHeads(phenomena);
  std::string text = fmt::format("Sink rate {} (alpha_1 > {:g}, T {})", FormatShare(phenomena.sink_rate),
                                 phenomena.sink_epsilon, phenomena.sink_length);
  if (heads.heads > 0)
    text += fmt::format("; sinks of {} heads: {} no-op, {} broadcast", FormatCount(heads.heads),
                        FormatCount(heads.no_op), FormatCount(heads.broadcast));
  return text + fmt::format("; F-Attn {} at T {}.", FormatCell(phenomena.first_token_mass), phenomena.sequence_length);
}

std::string GateSentence(const Phenomena& phenomena) {
  const GateMeans gates = MeanGate(phenomena, false), logits = MeanGate(phenomena, true);
  const auto blocks = [](int64_t count) { return fmt::format("{} {}", count, count == 1 ? "block" : "blocks"); };
  std::string text;
  if (gates.blocks > 0)
    text = fmt::format("Gates of {}: mean score {}, {} of the scores below 0.1.", blocks(gates.blocks),
                       FormatCell(gates.mean), FormatShare(gates.below_tenth));
  if (logits.blocks > 0)
    text += fmt::format("{}Sink logits of {} act as gates of mean {}.", text.empty() ? "" : " ", blocks(logits.blocks),
                        FormatCell(logits.mean));
  return text;
}

std::string ScanSentence(const Phenomena& phenomena) {
  if (!phenomena.scan) return "";
  const AmplifierScan& scan = *phenomena.scan;
  return fmt::format(
      "The scan reads weights only. Of the census' {} step neurons it names {}, and of their {} writes to spike "
      "channels "
      "{} are on its list (|U| from {:g} medians on).",
      scan.census_neurons, scan.neurons_found, scan.census_writes, scan.writes_found, scan.ratio_limit);
}

std::string OutlierSentence(const Phenomena& phenomena) {
  const Outliers& outliers = phenomena.outliers;
  if (outliers.tokens.empty() && !(outliers.mean_per_sequence > 0))
    return fmt::format("No token's largest |input of w_down| exceeds {:g} medians.", outliers.ratio);
  return fmt::format(
      "{} outlier tokens a sequence in the block that has most (largest |input of w_down| over {:g} medians of "
      "tokens): "
      "a "
      "prefix of {} would take them all.",
      FormatFigure(outliers.mean_per_sequence), outliers.ratio, outliers.prefix_length);
}

std::string VocabularySentence(const Phenomena& phenomena) {
  if (!phenomena.vocabulary) return "";
  const VocabularyProbe& probe = *phenomena.vocabulary;
  return fmt::format(
      "{:.2f} % of the vocabulary ({} of {} tokens) spikes when it stands first: |h| over {} after block {}. At "
      "position "
      "{}: {} of {}.",
      std::isfinite(probe.Share()) ? 100 * probe.Share() : 0.0, FormatCount(probe.spiking), FormatCount(probe.tokens),
      FormatFigure(probe.threshold), probe.block, probe.later_position, FormatCount(probe.later_spiking),
      FormatCount(probe.later_tokens));
}

std::vector<std::string> AllNotices(const std::vector<Phenomena>& models) {
  std::vector<std::string> notices;
  for (const Phenomena& model : models)
    for (const std::string& notice : model.notices)
      if (std::find(notices.begin(), notices.end(), notice) == notices.end()) notices.push_back(notice);
  return notices;
}

}  // namespace espalier
