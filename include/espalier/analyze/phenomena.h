#pragma once
// Spikes, sinks and who makes them: the measured phenomena of one model. Written as analyze/<model>.json.
// Terms: arXiv 2603.05498 (spike, step-up, step-down), arXiv 2402.17762 (massive activations), ICLR 2025 Gu et al.
// (sink rate).
#include <cstdint>
#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

struct Peak {
  int64_t channel = 0, sequence = 0, position = 0;
  double value = 0;  // signed
};

struct HeadPhenomena {
  double first_token_mass = 0;  // mean attention of all queries to position 0 (F-Attn of this head)
  bool sink = false;            // alpha_1 > epsilon in most sequences of length sink_length
};

struct BlockPhenomena {
  double residual_max = 0;      // max |h| after the block
  double residual_median = 0;   // median |h| after the block
  std::vector<Peak> top;        // the largest |h| after the block, one per channel, at most 3
  double output_max = 0;        // max |F(h)| of the block's two sublayers before the addition
  double first_token_mass = 0;  // mean over heads
  double sink_share = 0;        // share of (sequence, head) with alpha_1 > epsilon
  std::vector<HeadPhenomena> heads;
};

enum class NeuronRole { kStepUp, kStepDown };
std::string NeuronRoleName(NeuronRole role);  // "step_up"

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

struct Phenomena {
  std::string model;  // "dense"
  int64_t sequences = 0, sequence_length = 0;
  double sink_epsilon = 0.3;  // Gu et al.'s
  int64_t sink_length = 64;
  double sink_rate = 0;         // Sink_1^epsilon at sink_length, share of (sequence, block, head)
  double first_token_mass = 0;  // F-Attn at sequence_length: mean over blocks and heads
  std::vector<int64_t> spike_channels;
  std::vector<int64_t> step_up_blocks, step_down_blocks;  // 0-based blocks
  std::vector<BlockPhenomena> blocks;
  std::vector<SpikeNeuron> neurons;
  std::vector<SuperWeight> super_weights;
};

Json PhenomenaToJson(const Phenomena& phenomena);  // schema "espalier.phenomena/1"
Phenomena PhenomenaFromJson(const Json& json, const std::string& where);

}  // namespace espalier
