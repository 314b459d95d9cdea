#pragma once
// The sizes of a model, block by block: after pruning no two blocks need be alike.
#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

// Rotary position embedding (Su et al. 2021, arXiv 2104.09864) and its long-context variants.
struct RopeConfig {
  double theta = 10000;
  std::string scaling = "none";                                // "none", "linear", "llama3"
  double factor = 1;                                           // linear, llama3
  double low_frequency_factor = 1, high_frequency_factor = 4;  // llama3
  int64_t original_positions = 0;                              // llama3
};

// Dimension letters as in the whole project: H query heads, G key/value heads, F FFN width.
struct BlockConfig {
  int64_t H = 0, G = 0, F = 0;
  std::vector<int64_t> kv_of_head;  // [H] in [0, G): which key/value head a query head reads
  bool HasAttention() const { return H > 0; }
  bool HasFeedForward() const { return F > 0; }
};

struct ModelConfig {
  std::string family;           // registered name: "llama"
  int64_t C = 0, V = 0, D = 0;  // width, vocabulary, head width
  double norm_epsilon = 1e-5;
  RopeConfig rope;
  bool tied_head = false;
  int64_t max_positions = 0;
  std::vector<BlockConfig> blocks;
  int64_t L() const { return static_cast<int64_t>(blocks.size()); }
};

// Heads read groups in equal, consecutive runs, as in an uncut grouped-query model.
std::vector<int64_t> EvenKvOfHead(int64_t H, int64_t G);

}  // namespace espalier
