#pragma once
// The Bigram-Backcopy task of Guo et al. 2024, "Active-Dormant Attention Heads", arXiv 2410.13835, section 2: text of a
// bigram chain in which, after a trigger, the symbol before the trigger comes again. A head is needed at triggers
// alone; elsewhere it has nothing to say, and softmax attention parks it on the first token.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

struct BigramBackcopy {
  at::Tensor windows;  // [S, length] int64: <bos> (256), then bytes
  // [S] float64: mean -log of the true probability of a window's predictions, in nats. A copy costs 0. Over many
  // windows no model has a lower loss.
  at::Tensor optimal_loss;
  std::vector<int64_t> triggers;  // bytes
};

struct BigramBackcopyOptions {
  int64_t sequences = 0, length = 0;
  int64_t symbols = 64;  // of the chain: the most frequent bytes of the text
  int64_t triggers = 3;  // the most frequent of those
  uint64_t seed = 0;
};

// The chain follows the pairs of bytes in `text`, as the paper's follows characters of a text. A window begins with a
// symbol that is no trigger, so no two triggers stand side by side and the chain never locks. RecipeError when the text
// has fewer symbols than asked for.
BigramBackcopy MakeBigramBackcopy(const std::string& text, const BigramBackcopyOptions& options);

}  // namespace espalier
