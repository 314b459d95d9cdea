#include "espalier/export/shapes.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/model/head_layout.h"

namespace espalier {
namespace {

bool HasConstant(const Linear& output) {
  return output.bias.defined();
}

void AddConstant(at::Tensor& bias, const at::Tensor& constant) {
  bias = bias.defined() ? bias + constant : constant;
}

}  // namespace

PaddedSizes EvenSizes(const BlockConfig& block) {
  PaddedSizes sizes{block.G, 0, block.F};
  for (int64_t group = 0; group < block.G; ++group)
    sizes.heads_per_group =
        std::max<int64_t>(sizes.heads_per_group, std::count(block.kv_of_head.begin(), block.kv_of_head.end(), group));
  return sizes;
}

PaddedSizes LargestSizes(const ModelConfig& config) {
  PaddedSizes largest;
  for (const BlockConfig& block : config.blocks) {
    const PaddedSizes sizes = EvenSizes(block);
    largest.G = std::max(largest.G, sizes.G);
    largest.heads_per_group = std::max(largest.heads_per_group, sizes.heads_per_group);
    largest.F = std::max(largest.F, sizes.F);
  }
  return largest;
}

Model PaddedUniform(const Model& model) {
  const PaddedSizes sizes = LargestSizes(model.config);
  Model padded = model;
  for (int64_t l = 0; l < model.config.L(); ++l) PadBlock(padded, l, sizes);
  return padded;
}

Model FoldRemoved(const Model& model) {
  Model folded = model;
  folded.config.blocks.clear();
  folded.blocks.clear();
  const bool pre_norm = model.config.norm_placement == NormPlacement::kPre;
  for (size_t l = 0; l < model.blocks.size(); ++l) {
    const BlockConfig& sizes = model.config.blocks[l];
    Block block = model.blocks[l];
    at::Tensor* before = folded.blocks.empty() || !pre_norm ? nullptr : &folded.blocks.back().ffn.w_down.bias;
    if (!sizes.HasAttention() && HasConstant(block.attention.w_o) && before != nullptr)
      AddConstant(*before, std::exchange(block.attention.w_o.bias, at::Tensor()));
    const bool gone = !sizes.HasAttention() && !sizes.HasFeedForward();
    if (gone && HasConstant(block.ffn.w_down) && before != nullptr)
      AddConstant(*before, std::exchange(block.ffn.w_down.bias, at::Tensor()));
    const bool empty = gone && !HasConstant(block.attention.w_o) && !HasConstant(block.ffn.w_down);
    const bool last_chance = l + 1 == model.blocks.size() && folded.blocks.empty();
    if (empty && !last_chance) continue;
    folded.config.blocks.push_back(sizes);
    folded.blocks.push_back(block);
  }
  return folded;
}

bool IsUniform(const ModelConfig& config) {
  const BlockConfig& first = config.blocks.front();
  return std::all_of(config.blocks.begin(), config.blocks.end(), [&](const BlockConfig& block) {
    return block.HasAttention() && block.HasFeedForward() && !block.Ragged() && block.H % block.G == 0 &&
           block.kv_of_head == EvenKvOfHead(block.H, block.G) && block.H == first.H && block.G == first.G &&
           block.F == first.F;
  });
}

}  // namespace espalier
