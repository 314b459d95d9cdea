#include "espalier/model/config.h"

#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/model/head_layout.h"

namespace espalier {

std::vector<int64_t> EvenKvOfHead(int64_t H, int64_t G) {
  ESPALIER_CHECK(G > 0 && H % G == 0, "query heads must be a multiple of key/value heads");
  std::vector<int64_t> kv_of_head;
  for (int64_t head = 0; head < H; ++head) kv_of_head.push_back(head / (H / G));
  return kv_of_head;
}

int64_t GateScores(const ModelConfig& config, const BlockConfig& block) {
  if (block.gate == GateKind::kNone || !block.HasAttention()) return 0;
  if (block.gate == GateKind::kSingle) return 1;
  const GatePlace place = config.variants.gate_place;
  const bool of_groups = place == GatePlace::kG2 || place == GatePlace::kG3;
  if (block.gate == GateKind::kHeadwise) return of_groups ? block.G : block.H;
  if (place == GatePlace::kG5) return config.C;
  if (place == GatePlace::kG1) return HeadLayout(block, config.D).output_columns();
  return (of_groups ? block.G : block.H) * config.D;
}

int64_t NormSize(const ModelConfig& config) {
  return config.variants.norm == NormKind::kDynamicTanh ? 2 * config.C + 1 : config.C;
}

void CheckVariants(const ModelConfig& config) {
  const Variants& variants = config.variants;
  for (const BlockConfig& block : config.blocks) {
    const bool by_head = block.gate == GateKind::kHeadwise || variants.gate_shared;
    if (block.gate != GateKind::kNone && variants.gate_place == GatePlace::kG5 && by_head)
      throw RecipeError(
          "gate: g5 stands behind w_o, where there are no heads; expected elementwise or single, not shared");
    if (block.gate == GateKind::kSingle && variants.gate_shared)
      throw RecipeError("gate: a single score is shared by all heads as it is; expected shared: false");
    if (block.HasFeedForward() && variants.ffn == FfnKind::kLinear && block.F != config.C)
      throw RecipeError(fmt::format(
          "ffn: a single linear layer maps the width to itself; found ffn_width {}, expected {}", block.F, config.C));
  }
  const bool softmax =
      variants.weights == AttentionWeights::kSoftmax || variants.weights == AttentionWeights::kSoftmax1;
  for (const BlockConfig& block : config.blocks)
    if (block.sink_logits && !softmax)
      throw RecipeError("attention: sink logits belong to softmax; expected weights: softmax, or no sink logits");
  if (variants.clip_low > 0 || variants.clip_high < 1)
    throw RecipeError(fmt::format("attention: clip_low {} and clip_high {}; expected at most 0 and at least 1",
                                  variants.clip_low, variants.clip_high));
}

bool IsStudyModel(const ModelConfig& config) {
  bool single = false;
  for (const BlockConfig& block : config.blocks) single |= block.gate == GateKind::kSingle;
  return single || config.norm_placement == NormPlacement::kAfterAddition || !(config.variants == Variants{});
}

}  // namespace espalier
