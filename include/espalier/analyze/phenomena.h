#pragma once
// Spikes, sinks, gates and who makes them: the measured phenomena of one model. Written as analyze/<model>.json.
// Terms: arXiv 2603.05498 (spike, step-up, step-down), arXiv 2402.17762 (massive activations), arXiv 2410.10781 (sink
// rate), arXiv 2505.06708 (F-Attn, gates), arXiv 2606.08105 (no-op and broadcast sinks).
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

// Half a decoder layer. Paper 1 counts 2L blocks from 1: odd numbers are attention, even ones FFNs.
struct Sublayer {
  int64_t block = 0;  // 0-based decoder layer
  bool attention = false;
  int64_t PaperNumber() const { return 2 * block + (attention ? 1 : 2); }
  bool operator==(const Sublayer&) const = default;
};
std::string SublayerText(const Sublayer& sublayer);                 // "11" for an FFN, "11a" for attention
std::string SublayersText(const std::vector<Sublayer>& sublayers);  // "2, 11, 28a", "none"

struct Peak {
  int64_t channel = 0, sequence = 0, position = 0;
  double value = 0;  // signed
};

// The two taps of one sublayer: the residual stream after its addition, and its output before it.
struct Census {
  double residual_max = 0;         // max |h|
  double residual_median = 0;      // median |h| (of batches, averaged)
  double residual_kurtosis = 0;    // of the channels' RMS: mean s^4 / (mean s^2)^2 (He et al. 2024, arXiv 2405.19279)
  std::vector<Peak> residual_top;  // the largest |h|, one per channel, at most 3
  double output_max = 0;           // max |F(h)|
  std::vector<Peak> output_top;    // likewise
  double Ratio() const { return residual_median > 0 ? residual_max / residual_median : 0; }
};

// How near SiLU (GeLU) is to the identity, per token over its pre-activations: arXiv 2603.05498, Figure 2.
struct Regime {
  int64_t spike_tokens = 0;                  // tokens measured; the fields below are 0 when there were none
  double spike_cosine = 0, spike_ratio = 0;  // mean cosine and norm ratio of act(x) to x on spike tokens
  double other_cosine = 0, other_ratio = 0;  // on ordinary tokens
};

// What RMSNorm makes of spike tokens, before its gain: arXiv 2603.05498, section 3.2.
struct PostNorm {
  int64_t tokens = 0;       // spike tokens measured
  double largest = 0;       // max |h~_i| / sqrt(C), at most 1
  double energy_share = 0;  // share of |h~|^2 on the spike channels, mean over tokens
  double cosine = 0;        // mean over pairs of tokens
  double key_rank = 0;      // effective rank (exp of the entropy of singular values) of their keys, mean over KV groups
};

enum class HeadClass { kNonSink, kNoOp, kBroadcast };

struct HeadPhenomena {
  double first_token_mass = 0;     // F-Attn of this head: mean attention to position 0 of all queries that see it
  double alpha = 0;                // mean over sequences of alpha_1 at sink_length
  double logit_gap = 0;            // mean over queries: logit of position 0 minus the mean logit of the others it sees
  double logit_gap_deviation = 0;  // standard deviation over queries
  double value_norm_ratio = 0;     // |v_0| over the mean |v_i| of the others
  double output_norm = 0;          // mean |input of w_o| of this head, first token excluded
  double written_norm = 0;         // mean |w_o times it|, what reaches the residual stream
  HeadClass head_class = HeadClass::kNonSink;
  bool IsSink() const { return head_class != HeadClass::kNonSink; }
};

enum class GateForm { kElementwise, kHeadwise, kSinkLogit };

struct GatePhenomena {
  GateForm form = GateForm::kElementwise;
  double mean = 0;                 // of the score
  double below_tenth = 0;          // share of scores < 0.1
  std::vector<int64_t> histogram;  // 20 equal bins of [0, 1]
  std::vector<double> head_mean;   // [H]
  std::vector<double> head_below_tenth;
  double magnitude_before = 0, magnitude_after = 0;  // mean |attention output| before and after the gate
  // Shares of |values| < 1e-2 and < 1e-3: before the gate, after it, and of a control: before, times the mean score.
  std::vector<double> small_before, small_after, small_control;
};

struct BlockPhenomena {
  Census attention, ffn;
  Regime regime;
  PostNorm post_norm;           // at the input of attention
  double first_token_mass = 0;  // mean over heads
  double sink_share = 0;        // share of (sequence, head) with alpha_1 > epsilon
  int64_t window = 0;           // attention window; 0: full
  std::vector<HeadPhenomena> heads;
  std::optional<GatePhenomena> gate;
};

enum class NeuronRole { kStepUp, kStepDown };
std::string NeuronRoleName(NeuronRole role);      // "step_up"
std::string HeadClassName(HeadClass head_class);  // "no_op"

struct SpikeNeuron {
  int64_t block = 0, index = 0;
  NeuronRole role = NeuronRole::kStepUp;
  double activation = 0;    // |input of w_down| where it is largest
  int64_t channel = 0;      // residual channel it writes most
  double contribution = 0;  // signed, to that channel
  int64_t sequence = 0, position = 0;
};

struct SuperWeight {                       // arXiv 2411.07191
  int64_t block = 0, row = 0, column = 0;  // of w_down
  double input = 0, output = 0, weight = 0;
};

// One output channel of an FFN as a quadratic form, from weights alone: arXiv 2603.05498, eq. 15-19.
struct Amplifier {
  int64_t block = 0, channel = 0;
  double norm = 0;          // |U_k|_F
  double ratio = 0;         // norm over the median norm of its block's channels
  double eigenvalue = 0;    // lambda*, of the symmetric part, largest in magnitude
  double dominance = 0;     // lambda*^2 / |S_k|_F^2
  double cosine = 0;        // |cos| of s* with that of the strongest amplifier of the same block
  int64_t neuron = 0;       // with the largest |w_down[k, i]| |g_i| |u_i|
  double neuron_share = 0;  // of sum_i (..)^2
};
struct AmplifierScan {
  double ratio_limit = 0;             // amplifiers are listed from this ratio on
  std::vector<double> block_norm;     // [L] largest |U_k|_F of each block
  std::vector<Amplifier> amplifiers;  // strongest first
  // Agreement with the census: of its step neurons, and of its (block, spike channel) writes, how many the scan lists.
  int64_t census_neurons = 0, neurons_found = 0, census_writes = 0, writes_found = 0;
};

// Outlier tokens of PrefixQuant, arXiv 2410.05265: token-wise max |input of w_down| over its median across tokens.
struct OutlierToken {
  int64_t id = 0;
  std::string text;
  int64_t count = 0, first = 0;  // occurrences; of them at position 0
};
struct Outliers {
  double ratio = 0;                  // the rule's limit
  double mean_per_sequence = 0;      // of the block that has most
  int64_t prefix_length = 0;         // ceil of it: tokens of a prefix that would take them all
  std::vector<OutlierToken> tokens;  // most frequent first, at most 20
};

// Share of the vocabulary that spikes when it stands first: arXiv 2603.05498, Table 2.
struct VocabularyProbe {
  int64_t block = 0;     // after which it was measured: the step-up with the largest ratio of maximum to median
  double threshold = 0;  // |h| from which a token spikes: spike_ratio times that block's median
  int64_t tokens = 0, spiking = 0;                                  // at position 0
  int64_t later_position = 0, later_tokens = 0, later_spiking = 0;  // control: a sample of the vocabulary further on
  std::vector<OutlierToken> exceptions;  // that do not spike first, at most 50; counts are not used
  double Share() const { return tokens > 0 ? static_cast<double>(spiking) / static_cast<double>(tokens) : 0; }
};

struct Phenomena {
  std::string model;   // "dense"
  std::string family;  // "llama"
  int64_t sequences = 0, sequence_length = 0;
  double spike_ratio = 100;   // max |h| over median |h| from which a channel spikes
  double sink_epsilon = 0.3;  // Gu et al.'s
  int64_t sink_length = 64;
  double no_op_ratio = 0.2;                   // value-norm ratio below which a sink head is a no-op
  double sink_rate = 0;                       // Sink_1^epsilon at sink_length, share of (sequence, block, head)
  double first_token_mass = 0;                // F-Attn at sequence_length: mean over blocks and heads
  double massive_mean = 0;                    // M-Act: mean over blocks of max |h| (arXiv 2505.06708, Table 4)
  std::vector<double> sink_rate_by_position;  // Sink_k^epsilon for k = 1 .. sink_length
  std::vector<int64_t> spike_channels;        // strongest first
  std::vector<Sublayer> step_up, step_down;
  std::vector<BlockPhenomena> blocks;
  std::vector<SpikeNeuron> neurons;
  std::vector<SuperWeight> super_weights;
  Outliers outliers;
  std::optional<AmplifierScan> scan;
  std::optional<VocabularyProbe> vocabulary;
  std::vector<std::string> notices;  // what these figures do not say (notices.h)

  bool HasGates() const;  // some block is gated by a learned gate
  bool HasSinkLogits() const;
  double LargestResidual() const;
};

Json PhenomenaToJson(const Phenomena& phenomena);  // schema "espalier.phenomena/2"
Phenomena PhenomenaFromJson(const Json& json, const std::string& where);

}  // namespace espalier
