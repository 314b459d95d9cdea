#pragma once
// The sizes and the kind of a model, block by block: after pruning no two blocks need be alike.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "espalier/model/variants.h"

namespace espalier {

// Rotary position embedding (Su et al. 2021, arXiv 2104.09864) and its long-context variants.
struct RopeConfig {
  double theta = 10000;
  int64_t rotated = 0;                                         // leading dimensions of a head that turn; 0: all D
  std::string scaling = "none";                                // "none", "linear", "llama3", "yarn"
  double factor = 1;                                           // linear, llama3, yarn
  double low_frequency_factor = 1, high_frequency_factor = 4;  // llama3
  int64_t original_positions = 0;                              // llama3, yarn
  double beta_fast = 32, beta_slow = 1;                        // yarn (Peng et al. 2023, arXiv 2309.00071)
  bool truncate = true;                                        // yarn: the ramp starts and ends at whole pairs
  double attention_factor = 1;                                 // yarn: cosines and sines are multiplied by it
};

// Where RMSNorm stands. Pre: before each sublayer (Llama). Post: on each sublayer's output before the addition
// (OLMo 2, arXiv 2501.00656). Sandwich: both (Gemma 3, arXiv 2503.19786). After addition: on the sum, the post-norm of
// the first transformer (arXiv 1706.03762).
enum class NormPlacement { kPre, kPost, kSandwich, kAfterAddition };
constexpr bool NormsInput(NormPlacement place) {
  return place == NormPlacement::kPre || place == NormPlacement::kSandwich;
}
// RMSNorm of queries and keys: of each head (Qwen3, Gemma 3), or of all heads together (OLMo 2).
enum class QkNorm { kNone, kPerHead, kAllHeads };
enum class Activation { kSilu, kGeluTanh };
// Output gate of attention, Qiu et al. 2025, arXiv 2505.06708 (position G1): one score for each value channel, or one
// for each head, or a single one (arXiv 2603.05498, Table 7).
enum class GateKind { kNone, kElementwise, kHeadwise, kSingle };
// How a checkpoint fuses w_q and the gate into q_proj. Grouped: the queries of a KV group, then its gates (layouts A
// and B of the paper's code). Per head: the query of a head, then its gate (layout C, Qwen3-Next). Shape cannot tell.
enum class GateLayout { kSeparate, kGrouped, kPerHead };

// Dimension letters as in the whole project: H query heads, G key/value heads, F FFN width.
struct BlockConfig {
  int64_t H = 0, G = 0, F = 0;
  std::vector<int64_t> kv_of_head;  // [H] in [0, G): which key/value head a query head reads
  int64_t window = 0;               // a token sees itself and window - 1 before it; 0: all before it
  GateKind gate = GateKind::kNone;
  bool sink_logits = false;  // an extra logit a head, of a key without value (gpt-oss)
  // Ragged heads: which of the D dimensions stay, ascending, [G] lists; empty: all of every group. Values and what
  // the group's heads write; keys and the group's queries, in rotary pairs (model/head_layout.h). The other dimensions
  // are zero: they are still counted by a norm of each head and by the scale 1 / sqrt(D).
  std::vector<std::vector<int64_t>> value_channels, qk_dims;
  bool Ragged() const { return !value_channels.empty() || !qk_dims.empty(); }
  bool HasAttention() const { return H > 0; }
  bool HasFeedForward() const { return F > 0; }
};

struct ModelConfig {
  std::string family;           // registered name: "llama"
  int64_t C = 0, V = 0, D = 0;  // width, vocabulary, head width
  double norm_epsilon = 1e-5;
  NormPlacement norm_placement = NormPlacement::kPre;
  bool norm_adds_one = false;  // norms multiply by 1 + weight (Gemma, Qwen3-Next)
  QkNorm qk_norm = QkNorm::kNone;
  Activation activation = Activation::kSilu;
  GateLayout gate_layout = GateLayout::kSeparate;
  double embedding_scale = 1;             // Gemma: sqrt(C)
  std::optional<double> attention_scale;  // of the logits; default 1 / sqrt(D)
  RopeConfig rope;
  std::optional<RopeConfig> windowed_rope;  // of blocks with a window, where it differs (Gemma 3)
  bool tied_head = false;
  int64_t max_positions = 0;
  Variants variants;  // of models made for a study (model/variants.h)
  std::vector<BlockConfig> blocks;

  int64_t L() const { return static_cast<int64_t>(blocks.size()); }
  double AttentionScale() const;  // attention_scale or its default
  const RopeConfig& RopeOf(const BlockConfig& block) const {
    return block.window > 0 && windowed_rope ? *windowed_rope : rope;
  }
};

// How many scores the gate of a block has; 0 without one. Elementwise: as many as what it stands on has channels.
int64_t GateScores(const ModelConfig& config, const BlockConfig& block);
// Elements of a norm over the residual stream: C, or for DynamicTanh weight, bias and alpha, 2C + 1.
int64_t NormSize(const ModelConfig& config);
// RecipeError naming a combination that has no meaning: scores by head on what has no heads, a linear FFN with F != C.
void CheckVariants(const ModelConfig& config);
// Whether the model differs from every published family: it is trained, analysed and evaluated, but not pruned.
bool IsStudyModel(const ModelConfig& config);

// Heads read groups in equal, consecutive runs, as in an uncut grouped-query model.
std::vector<int64_t> EvenKvOfHead(int64_t H, int64_t G);

}  // namespace espalier
