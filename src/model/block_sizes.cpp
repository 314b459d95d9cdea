#include "block_sizes.h"

#include <algorithm>
#include <functional>

namespace espalier {
namespace {

[[noreturn]] void Refuse(const ConfigReader& config, const char* key, const std::string& expected) {
  throw IoError(fmt::format("{}: {}: expected {}, found {}", config.where(), key, expected,
                            config.json().at(key).dump().substr(0, 60)));
}

std::vector<int64_t> NumbersOf(const ConfigReader& config, const char* key, const Json& list, int64_t limit) {
  std::vector<int64_t> numbers;
  const bool is_list = list.is_array() && static_cast<int64_t>(list.size()) <= limit;
  for (const Json& number : is_list ? list : Json::array()) {
    if (!number.is_number_integer() || number < 0 || number >= limit) Refuse(config, key, "whole numbers in range");
    numbers.push_back(number.get<int64_t>());
  }
  if (!is_list) Refuse(config, key, "a list of whole numbers");
  return numbers;
}

std::vector<int64_t> ReadNumbers(const ConfigReader& config, const char* key, int64_t limit) {
  return NumbersOf(config, key, config.json().at(key), limit);
}

// Ours, beyond transformers: the dimensions of D that stay, a list for each KV group. CheckShapes has the last word.
std::vector<std::vector<int64_t>> ReadDimensions(const ConfigReader& config, const char* key) {
  std::vector<std::vector<int64_t>> kept;
  if (!config.Has(key)) return kept;
  const Json& groups = config.json().at(key);
  if (!groups.is_array() || groups.size() > kMaxHeads) Refuse(config, key, "a list for each KV group");
  for (const Json& group : groups) {
    kept.push_back(NumbersOf(config, key, group, kMaxWidth));
    if (!std::is_sorted(kept.back().begin(), kept.back().end(), std::less_equal<>()))
      Refuse(config, key, "ascending numbers");
  }
  return kept;
}

// Heads in runs, one for each group in turn, but not necessarily equal runs.
void CheckUnevenHeads(const std::string& where, const BlockConfig& block) {
  const auto& groups = block.kv_of_head;
  if (static_cast<int64_t>(groups.size()) != block.H || !std::is_sorted(groups.begin(), groups.end()) ||
      (block.G > 0) != (block.H > 0) ||
      std::any_of(groups.begin(), groups.end(), [&](int64_t g) { return g >= block.G; }))
    throw IoError(fmt::format("{}: kv_of_head: expected {} ascending numbers below {}", where, block.H, block.G));
}

// One list of dimensions for each group, where there are lists.
void CheckRagged(const std::string& where, const BlockConfig& block) {
  for (const auto* kept : {&block.value_channels, &block.qk_dims})
    if (!kept->empty() && static_cast<int64_t>(kept->size()) != block.G)
      throw IoError(fmt::format("{}: {}: {} lists, expected one for each of {} KV groups", where,
                                kept == &block.qk_dims ? "qk_dims" : "value_channels", kept->size(), block.G));
}

// One block of `per_layer_config`, in the notation of transformers: overrides and what is skipped.
void ReadOverrides(const ConfigReader& overrides, BlockConfig& block) {
  block.H = overrides.Maybe<int64_t>("num_attention_heads").value_or(block.H);
  block.G = overrides.Maybe<int64_t>("num_key_value_heads").value_or(block.G);
  block.F = overrides.Maybe<int64_t>("intermediate_size").value_or(block.F);
  if (overrides.Has("kv_of_head")) block.kv_of_head = ReadNumbers(overrides, "kv_of_head", kMaxHeads);
  block.value_channels = ReadDimensions(overrides, "value_channels");
  block.qk_dims = ReadDimensions(overrides, "qk_dims");
  if (overrides.json().contains("skip"))
    for (const Json& skipped : overrides.json().at("skip")) {
      if (skipped == "attention")
        block.H = block.G = 0;
      else if (skipped == "mlp")
        block.F = 0;
      else
        throw IoError(
            fmt::format("{}: skip: found {}, expected \"attention\" or \"mlp\"", overrides.where(), skipped.dump()));
    }
  if (block.H < 0 || block.H > kMaxHeads || block.G < 0 || block.G > kMaxHeads || block.F < 0 || block.F > kMaxWidth)
    throw IoError(fmt::format("{}: {} heads, {} KV groups and FFN width {} are out of range", overrides.where(),
                              block.H, block.G, block.F));
}

// The largest sizes become the model's; blocks that are smaller are overrides.
BlockConfig CommonBlock(const std::vector<BlockConfig>& blocks) {
  BlockConfig common;
  for (const BlockConfig& block : blocks) {
    common.H = std::max(common.H, block.H);
    common.G = std::max(common.G, block.G);
    common.F = std::max(common.F, block.F);
  }
  return common;
}

bool IsEven(const BlockConfig& block) {
  return block.H % block.G == 0 && block.kv_of_head == EvenKvOfHead(block.H, block.G);
}

// What only this program reads: heads that are not spread evenly over the groups, and ragged ones.
void WriteRagged(const BlockConfig& block, Json& overrides) {
  if (!IsEven(block)) overrides["kv_of_head"] = block.kv_of_head;
  if (!block.value_channels.empty()) overrides["value_channels"] = block.value_channels;
  if (!block.qk_dims.empty()) overrides["qk_dims"] = block.qk_dims;
}

Json PerLayerConfig(const ModelConfig& config, const BlockConfig& common) {
  Json layers = Json::object();
  const size_t width = std::to_string(config.L() - 1).size();
  for (size_t l = 0; l < config.blocks.size(); ++l) {
    const BlockConfig& block = config.blocks[l];
    Json overrides = Json::object();
    Json skip = Json::array();
    if (!block.HasAttention())
      skip.push_back("attention");
    else if (block.H != common.H || block.G != common.G)
      overrides = {{"num_attention_heads", block.H}, {"num_key_value_heads", block.G}};
    if (block.HasAttention()) WriteRagged(block, overrides);
    if (!block.HasFeedForward())
      skip.push_back("mlp");
    else if (block.F != common.F)
      overrides["intermediate_size"] = block.F;
    if (!skip.empty()) overrides["skip"] = skip;
    if (!overrides.empty()) layers[fmt::format("{:0{}}", l, width)] = overrides;
  }
  return layers;
}

}  // namespace

void CheckHeads(const std::string& where, int64_t H, int64_t G) {
  if (G < 1 || H < G || H % G != 0)
    throw IoError(fmt::format("{}: {} query heads and {} key/value heads; expected a multiple", where, H, G));
}

void ReadBlocks(const ConfigReader& config, ModelConfig& model) {
  BlockConfig common;
  common.H = config.Positive("num_attention_heads", kMaxHeads);
  common.G = config.Maybe<int64_t>("num_key_value_heads").value_or(common.H);
  common.F = config.Positive("intermediate_size", kMaxWidth);
  model.blocks.assign(static_cast<size_t>(config.Positive("num_hidden_layers", kMaxBlocks)), common);
  if (config.json().contains("per_layer_config")) {
    for (const auto& [key, overrides] : config.json().at("per_layer_config").items()) {
      const std::string where = fmt::format("{}: per_layer_config.{}", config.where(), key);
      if (key.empty() || key.size() > 6 || key.find_first_not_of("0123456789") != std::string::npos ||
          std::stoll(key) >= model.L())
        throw IoError(fmt::format("{}: expected a layer from 0 to {}", where, model.L() - 1));
      ReadOverrides(ConfigReader(overrides, where), model.blocks[static_cast<size_t>(std::stoll(key))]);
    }
  }
  for (size_t l = 0; l < model.blocks.size(); ++l) {
    BlockConfig& block = model.blocks[l];
    const std::string where = fmt::format("{}: layer {}", config.where(), l);
    if (!block.HasAttention()) {
      block.G = 0;
      block.kv_of_head.clear(), block.value_channels.clear(), block.qk_dims.clear();
      continue;
    }
    if (block.kv_of_head.empty()) {
      CheckHeads(where, block.H, block.G);
      block.kv_of_head = EvenKvOfHead(block.H, block.G);
    }
    CheckUnevenHeads(where, block);
    CheckRagged(where, block);
  }
}

void WriteBlocks(const ModelConfig& model, Json& json) {
  const BlockConfig common = CommonBlock(model.blocks);
  json["num_hidden_layers"] = model.L();
  json["num_attention_heads"] = common.H;
  json["num_key_value_heads"] = common.G;
  json["intermediate_size"] = common.F;
  const Json layers = PerLayerConfig(model, common);
  if (!layers.empty()) json["per_layer_config"] = layers;
}

bool IsWindowed(const ConfigReader& config, size_t layer) {
  const Json& types = config.json().at("layer_types");
  if (!types.is_array() || layer >= types.size() || !types[layer].is_string())
    throw IoError(fmt::format("{}: layer_types: expected one text for each layer", config.where()));
  const std::string type = types[layer].get<std::string>();
  if (type == "sliding_attention") return true;
  if (type == "full_attention") return false;
  throw IoError(
      fmt::format("{}: layer_types: layer {} is '{}', which is not supported; supported: full_attention, "
                  "sliding_attention",
                  config.where(), layer, type));
}

void ReadSwitchedWindows(const ConfigReader& config, ModelConfig& model) {
  if (!config.Flag("use_sliding_window")) return;
  const int64_t first = config.Maybe<int64_t>("max_window_layers").value_or(0);
  ReadWindows(config, model, [first](int64_t layer) { return layer >= first; });
}

void WriteWindows(const ModelConfig& model, Json& json) {
  Json types = Json::array();
  int64_t window = 0;
  for (const BlockConfig& block : model.blocks) {
    types.push_back(block.window > 0 ? "sliding_attention" : "full_attention");
    window = std::max(window, block.window);
  }
  if (window == 0) return;
  json["layer_types"] = types;
  json["sliding_window"] = window;
}

}  // namespace espalier
