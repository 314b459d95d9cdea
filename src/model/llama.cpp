// Llama 1, 2, 3 and what shares their architecture (SmolLM2, TinyLlama): arXiv 2302.13971, 2307.09288, 2407.21783.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "espalier/io/gguf.h"
#include "espalier/model/family.h"

namespace espalier {
namespace {

// Our name of a block's tensor -> its name in a Hugging Face folder and in a GGUF file, without the block's prefix.
struct StoredName {
  const char* hugging_face;
  const char* gguf;
};
const std::map<std::string, StoredName, std::less<>> kBlockNames = {
    {"attention_norm", {"input_layernorm.weight", "attn_norm.weight"}},
    {"ffn_norm", {"post_attention_layernorm.weight", "ffn_norm.weight"}},
    {"w_q", {"self_attn.q_proj", "attn_q"}},
    {"w_k", {"self_attn.k_proj", "attn_k"}},
    {"w_v", {"self_attn.v_proj", "attn_v"}},
    {"w_o", {"self_attn.o_proj", "attn_output"}},
    {"w_gate", {"mlp.gate_proj", "ffn_gate"}},
    {"w_up", {"mlp.up_proj", "ffn_up"}},
    {"w_down", {"mlp.down_proj", "ffn_down"}},
};
const std::map<std::string, StoredName, std::less<>> kModelNames = {
    {"embedding", {"model.embed_tokens.weight", "token_embd.weight"}},
    {"final_norm", {"model.norm.weight", "output_norm.weight"}},
    {"head", {"lm_head.weight", "output.weight"}},
};

// Reads config.json with errors that name the file and the key.
class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  template <class T>
  std::optional<T> Maybe(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null()) return std::nullopt;
    const bool fits = std::is_same_v<T, bool>          ? found->is_boolean()
                      : std::is_same_v<T, std::string> ? found->is_string()
                      : std::is_same_v<T, int64_t>     ? found->is_number_integer()
                                                       : found->is_number();
    if (!fits) throw IoError(fmt::format("{}: {}: found {}, expected another type", where_, key, found->dump()));
    return found->get<T>();
  }
  template <class T>
  T Get(const char* key) const {
    if (auto value = Maybe<T>(key)) return *value;
    throw IoError(fmt::format("{}: {} is missing", where_, key));
  }
  int64_t Positive(const char* key, int64_t largest) const {
    const auto value = Get<int64_t>(key);
    if (value < 1 || value > largest)
      throw IoError(fmt::format("{}: {} is {}, expected 1 to {}", where_, key, value, largest));
    return value;
  }
  const Json& json() const { return json_; }
  const std::string& where() const { return where_; }

 private:
  const Json& json_;
  std::string where_;
};

// Beyond these a header is hostile; the largest published models stay far below.
constexpr int64_t kMaxWidth = 1 << 20, kMaxBlocks = 4096, kMaxVocabulary = 1 << 24, kMaxHeads = 1 << 14;

void CheckHeads(const std::string& where, int64_t H, int64_t G) {
  if (G < 1 || H < G || H % G != 0)
    throw IoError(fmt::format("{}: {} query heads and {} key/value heads; expected a multiple", where, H, G));
}

RopeConfig ReadRope(const ConfigReader& config) {
  RopeConfig rope;
  // transformers 5 writes rope_parameters, older versions rope_theta and rope_scaling.
  const auto& json = config.json();
  const char* key = json.contains("rope_parameters") ? "rope_parameters" : "rope_scaling";
  rope.theta = config.Maybe<double>("rope_theta").value_or(10000);
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return rope;
  const ConfigReader scaling(*found, config.where() + ": " + key);
  rope.theta = scaling.Maybe<double>("rope_theta").value_or(rope.theta);
  const std::string type =
      scaling.Maybe<std::string>("rope_type").value_or(scaling.Maybe<std::string>("type").value_or("default"));
  if (type == "default") return rope;
  if (type != "linear" && type != "llama3")
    throw IoError(
        fmt::format("{}: rope_type '{}' is not supported; supported: default, linear, llama3", scaling.where(), type));
  rope.scaling = type;
  rope.factor = scaling.Get<double>("factor");
  if (type == "llama3") {
    rope.low_frequency_factor = scaling.Get<double>("low_freq_factor");
    rope.high_frequency_factor = scaling.Get<double>("high_freq_factor");
    rope.original_positions = scaling.Get<int64_t>("original_max_position_embeddings");
  }
  return rope;
}

// One block of `per_layer_config`, in the notation of transformers: overrides and what is skipped.
void ReadOverrides(const ConfigReader& overrides, BlockConfig& block) {
  block.H = overrides.Maybe<int64_t>("num_attention_heads").value_or(block.H);
  block.G = overrides.Maybe<int64_t>("num_key_value_heads").value_or(block.G);
  block.F = overrides.Maybe<int64_t>("intermediate_size").value_or(block.F);
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
  if (block.H < 0 || block.H > kMaxHeads || block.F < 0 || block.F > kMaxWidth)
    throw IoError(fmt::format("{}: {} heads and FFN width {} are out of range", overrides.where(), block.H, block.F));
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
    if (!block.HasAttention()) continue;
    CheckHeads(fmt::format("{}: layer {}", config.where(), l), block.H, block.G);
    block.kv_of_head = EvenKvOfHead(block.H, block.G);
  }
}

ModelConfig FromJson(const ConfigReader& config) {
  ModelConfig model;
  model.family = "llama";
  model.C = config.Positive("hidden_size", kMaxWidth);
  model.V = config.Positive("vocab_size", kMaxVocabulary);
  if (const auto act = config.Maybe<std::string>("hidden_act").value_or("silu"); act != "silu")
    throw IoError(fmt::format("{}: hidden_act is '{}'; the llama family supports silu", config.where(), act));
  model.norm_epsilon = config.Maybe<double>("rms_norm_eps").value_or(1e-6);
  model.tied_head = config.Maybe<bool>("tie_word_embeddings").value_or(false);
  model.max_positions = config.Maybe<int64_t>("max_position_embeddings").value_or(2048);
  model.rope = ReadRope(config);
  ReadBlocks(config, model);
  model.D = config.Maybe<int64_t>("head_dim").value_or(model.C / config.Get<int64_t>("num_attention_heads"));
  if (model.D < 2 || model.D % 2 != 0 || model.D > kMaxWidth)
    throw IoError(fmt::format("{}: head_dim is {}, expected an even number", config.where(), model.D));
  return model;
}

ModelConfig FromGguf(const Checkpoint& checkpoint) {
  const GgufFile& gguf = checkpoint.Gguf();
  const std::string where = checkpoint.path().string();
  const auto within = [&](const std::string& key, int64_t largest) {
    const int64_t value = gguf.Int(key);
    if (value < 1 || value > largest)
      throw IoError(fmt::format("{}: {} is {}, expected 1 to {}", where, key, value, largest));
    return value;
  };
  ModelConfig model;
  model.family = "llama";
  model.C = within("llama.embedding_length", kMaxWidth);
  model.V = checkpoint.Shape("token_embd.weight").at(0);
  model.norm_epsilon = gguf.Real("llama.attention.layer_norm_rms_epsilon");
  model.tied_head = !checkpoint.Has("output.weight");
  model.max_positions = gguf.Int("llama.context_length");
  model.rope.theta = gguf.Has("llama.rope.freq_base") ? gguf.Real("llama.rope.freq_base") : 10000;
  if (checkpoint.Has("rope_freqs.weight") || gguf.Has("llama.rope.scaling.type"))
    throw IoError(where + ": RoPE scaling in a GGUF file is not supported; give the Hugging Face folder of this model");
  BlockConfig block;
  block.H = within("llama.attention.head_count", kMaxHeads);
  block.G = gguf.Has("llama.attention.head_count_kv") ? within("llama.attention.head_count_kv", kMaxHeads) : block.H;
  block.F = within("llama.feed_forward_length", kMaxWidth);
  CheckHeads(where, block.H, block.G);
  block.kv_of_head = EvenKvOfHead(block.H, block.G);
  model.D =
      gguf.Has("llama.attention.key_length") ? within("llama.attention.key_length", kMaxWidth) : model.C / block.H;
  model.blocks.assign(static_cast<size_t>(within("llama.block_count", kMaxBlocks)), block);
  return model;
}

// GGUF keeps q and k rows interleaved (pairs together), Hugging Face half-split: [n*D, ...] rows of head n, pair p,
// half s.
at::Tensor HalfSplit(const at::Tensor& stored, int64_t D) {
  const int64_t heads = stored.size(0) / D, rest = stored.numel() / stored.size(0);
  return stored.reshape({heads, D / 2, 2, rest}).transpose(1, 2).reshape(stored.sizes());
}

Json RopeJson(const RopeConfig& rope) {
  Json json = {{"rope_type", rope.scaling}, {"factor", rope.factor}};
  if (rope.scaling == "llama3") {
    json["low_freq_factor"] = rope.low_frequency_factor;
    json["high_freq_factor"] = rope.high_frequency_factor;
    json["original_max_position_embeddings"] = rope.original_positions;
  }
  return json;
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
    if (!block.HasFeedForward())
      skip.push_back("mlp");
    else if (block.F != common.F)
      overrides["intermediate_size"] = block.F;
    if (!skip.empty()) overrides["skip"] = skip;
    if (!overrides.empty()) layers[fmt::format("{:0{}}", l, width)] = overrides;
  }
  return layers;
}

class Llama final : public ModelFamily {
 public:
  ModelConfig ReadConfig(const Checkpoint& checkpoint) const override {
    if (checkpoint.format() == CheckpointFormat::kGguf) return FromGguf(checkpoint);
    return FromJson(ConfigReader(checkpoint.Config(), (checkpoint.path() / "config.json").string()));
  }

  std::string TensorName(CheckpointFormat format, std::string_view name) const override {
    const bool gguf = format == CheckpointFormat::kGguf;
    if (const auto found = kModelNames.find(name); found != kModelNames.end())
      return gguf ? found->second.gguf : found->second.hugging_face;
    const size_t dot = name.find('.');  // "block3.w_q.weight", "block3.ffn_norm"
    const std::string_view layer = name.substr(5, dot - 5), rest = name.substr(dot + 1);
    const size_t part = rest.find('.');
    const StoredName& stored = kBlockNames.find(rest.substr(0, part))->second;
    const std::string_view suffix = part == std::string_view::npos ? "" : rest.substr(part);
    return fmt::format("{}.{}.{}{}", gguf ? "blk" : "model.layers", layer, gguf ? stored.gguf : stored.hugging_face,
                       suffix);
  }

  at::Tensor FromStored(CheckpointFormat format, const ModelConfig& config, int64_t, std::string_view name,
                        const at::Tensor& stored) const override {
    const bool rotated = name.find(".w_q.") != std::string_view::npos || name.find(".w_k.") != std::string_view::npos;
    return format == CheckpointFormat::kGguf && rotated ? HalfSplit(stored, config.D) : stored;
  }

  Json WriteConfig(const Model& model) const override {
    const ModelConfig& config = model.config;
    const BlockConfig common = CommonBlock(config.blocks);
    Json json = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"hidden_size", config.C},
                 {"num_hidden_layers", config.L()},
                 {"num_attention_heads", common.H},
                 {"num_key_value_heads", common.G},
                 {"head_dim", config.D},
                 {"intermediate_size", common.F},
                 {"vocab_size", config.V},
                 {"hidden_act", "silu"},
                 {"rms_norm_eps", config.norm_epsilon},
                 {"rope_theta", config.rope.theta},
                 {"max_position_embeddings", config.max_positions},
                 {"tie_word_embeddings", config.tied_head},
                 {"dtype", model.dtype() == at::kFloat ? "float32" : "bfloat16"}};
    if (config.rope.scaling != "none") json["rope_scaling"] = RopeJson(config.rope);
    bool attention_bias = false, mlp_bias = false;
    for (const Block& block : model.blocks) {
      for (const Role role : {Role::kQ, Role::kK, Role::kV, Role::kO}) attention_bias |= block.At(role).bias.defined();
      for (const Role role : {Role::kGate, Role::kUp, Role::kDown}) mlp_bias |= block.At(role).bias.defined();
    }
    json["attention_bias"] = attention_bias;
    json["mlp_bias"] = mlp_bias;
    const Json layers = PerLayerConfig(config, common);
    if (!layers.empty()) json["per_layer_config"] = layers;
    return json;
  }
};

const bool kRegistered = Registry<ModelFamily>::Register(
    {"llama",
     "Llama 1 to 3, SmolLM2, TinyLlama: pre-norm, RoPE, grouped-query attention, SwiGLU",
     "arXiv 2302.13971, 2307.09288, 2407.21783",
     {},
     {}},
    [](const Options&) -> std::unique_ptr<ModelFamily> { return std::make_unique<Llama>(); });

}  // namespace
}  // namespace espalier
