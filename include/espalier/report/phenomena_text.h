#pragma once
// What every rendered form says of phenomena in the same words: figures of a model, and sentences on what was found.
#include <optional>
#include <string>
#include <vector>

#include "espalier/analyze/phenomena.h"

namespace espalier {

struct HeadCounts {
  int64_t heads = 0, no_op = 0, broadcast = 0;
  int64_t Sinks() const { return no_op + broadcast; }
};
HeadCounts CountHeads(const BlockPhenomena& block);
HeadCounts CountHeads(const Phenomena& phenomena);

// Means over the blocks that have a gate: of learned gates, or of the effective gates of sink logits.
struct GateMeans {
  int64_t blocks = 0;
  double mean = 0, below_tenth = 0;
};
GateMeans MeanGate(const Phenomena& phenomena, bool sink_logits);

// A name and a text; `value` where there is one number to compare between models.
struct KeyFigure {
  enum class Kind { kSize, kShare, kCount, kText };  // compared as ratio, points, difference, same or not
  std::string name, text;
  Kind kind = Kind::kText;
  double value = 0;
};
std::vector<KeyFigure> KeyFigures(const Phenomena& phenomena);

// The same of several models: a row holds the name and a text for each model, empty where it has no such figure.
struct KeyFigureRow {
  std::string name;
  std::vector<std::string> texts;
  std::string change;  // of the second model against the first: "×0.95", "-6.3 points", "+3", "changed"; empty: same
};
std::vector<KeyFigureRow> CompareKeyFigures(const std::vector<Phenomena>& models);

// "507, 247, 14", "507, 247, 14, 90, 3, 8 and 4 more", "none": the order is that of strength.
std::string ChannelsText(const std::vector<int64_t>& channels);
std::string PeakText(const std::vector<Peak>& top);  // "507@0", channel and position of the largest; or empty
std::string PaperText(int64_t block);                // "23, 24": the paper's numbers of a block's two halves
std::string TokenText(const std::string& text);      // quoted, white space visible: "\"\\n\""
std::string ClassText(HeadClass head_class);         // "no-op"
std::string RoleText(NeuronRole role);               // "step-up"
std::string GateFormText(GateForm form);             // "sink logit"
std::string TokensText(const Phenomena& phenomena);  // "8,192 tokens (16 windows of 512)"

// Those that write most first.
std::vector<SpikeNeuron> StrongestFirst(std::vector<SpikeNeuron> neurons);
// The scan's entry for a neuron's block and channel; null without one.
const Amplifier* FindAmplifier(const Phenomena& phenomena, const SpikeNeuron& neuron);

std::string SpikeSentence(
    const Phenomena& phenomena);                       // which channels, how large, who writes them and who clears them
std::string SinkSentence(const Phenomena& phenomena);  // sink rate with its parameters, classes, F-Attn
std::string GateSentence(const Phenomena& phenomena);  // empty without gates and sink logits
std::string ScanSentence(const Phenomena& phenomena);  // how far weights and census agree; empty without a scan
std::string OutlierSentence(const Phenomena& phenomena);
std::string VocabularySentence(const Phenomena& phenomena);  // empty without a probe

std::vector<std::string> AllNotices(const std::vector<Phenomena>& models);  // each once

}  // namespace espalier
