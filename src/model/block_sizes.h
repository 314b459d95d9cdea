#pragma once
// Sizes of every block from config.json, with the overrides of pruned checkpoints, and back.
#include "config_reader.h"
#include "espalier/model/config.h"

namespace espalier {

void CheckHeads(const std::string& where, int64_t H, int64_t G);  // IoError unless H is a multiple of G
// num_hidden_layers blocks of the common sizes, changed by `per_layer_config`.
void ReadBlocks(const ConfigReader& config, ModelConfig& model);
// num_attention_heads and so on: the largest of any block; blocks that differ under `per_layer_config`.
void WriteBlocks(const ModelConfig& model, Json& json);

// `layer_types` and `sliding_window`. Where the list is absent, `windowed(layer)` decides; a kind of layer other than
// full and sliding attention is refused by name.
template <class Windowed>
void ReadWindows(const ConfigReader& config, ModelConfig& model, const Windowed& windowed);
// Qwen's rule: none unless `use_sliding_window`; without a list the layers from `max_window_layers` on.
void ReadSwitchedWindows(const ConfigReader& config, ModelConfig& model);
void WriteWindows(const ModelConfig& model, Json& json);

// One entry of layer_types: whether it has a window. IoError for any other kind.
bool IsWindowed(const ConfigReader& config, size_t layer);

template <class Windowed>
void ReadWindows(const ConfigReader& config, ModelConfig& model, const Windowed& windowed) {
  const bool listed = config.Has("layer_types");
  for (size_t l = 0; l < model.blocks.size(); ++l)
    if (listed ? IsWindowed(config, l) : windowed(static_cast<int64_t>(l)))
      model.blocks[l].window = config.Positive("sliding_window", int64_t{1} << 40);
}

}  // namespace espalier
