#include "decoder_family.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "espalier/model/gate_layout.h"

namespace espalier {
namespace {

// Our name of a tensor -> its name in a Hugging Face folder and in a GGUF file, without the block's prefix.
struct StoredName {
  const char* hugging_face;
  const char* gguf;
};
using Names = std::map<std::string, StoredName, std::less<>>;

const Names kModelNames = {
    {"embedding", {"model.embed_tokens.weight", "token_embd.weight"}},
    {"final_norm", {"model.norm.weight", "output_norm.weight"}},
    {"head", {"lm_head.weight", "output.weight"}},
};
const Names kBlockNames = {
    {"w_q", {"self_attn.q_proj", "attn_q"}},
    {"w_output_gate", {"self_attn.q_proj", "attn_q"}},  // fused: the layout says which rows
    {"w_k", {"self_attn.k_proj", "attn_k"}},
    {"w_v", {"self_attn.v_proj", "attn_v"}},
    {"w_o", {"self_attn.o_proj", "attn_output"}},
    {"q_norm", {"self_attn.q_norm.weight", "attn_q_norm.weight"}},
    {"k_norm", {"self_attn.k_norm.weight", "attn_k_norm.weight"}},
    {"sink_logits", {"self_attn.sinks", "attn_sinks.weight"}},
    {"w_gate", {"mlp.gate_proj", "ffn_gate"}},
    {"w_up", {"mlp.up_proj", "ffn_up"}},
    {"w_down", {"mlp.down_proj", "ffn_down"}},
};
// The same word names different norms: after attention is before the FFN in Llama, and after attention in Gemma.
const Names kPreNorms = {
    {"attention_norm", {"input_layernorm.weight", "attn_norm.weight"}},
    {"ffn_norm", {"post_attention_layernorm.weight", "ffn_norm.weight"}},
};
const Names kOuterNorms = {
    {"attention_norm", {"input_layernorm.weight", "attn_norm.weight"}},
    {"attention_post_norm", {"post_attention_layernorm.weight", "post_attention_norm.weight"}},
    {"ffn_norm", {"pre_feedforward_layernorm.weight", "ffn_norm.weight"}},
    {"ffn_post_norm", {"post_feedforward_layernorm.weight", "post_ffw_norm.weight"}},
};

// GGUF keeps q and k rows interleaved (pairs together), Hugging Face half-split: [n*D, ...] rows of head n, pair p,
// half s.
at::Tensor HalfSplit(const at::Tensor& stored, int64_t D) {
  const int64_t heads = stored.size(0) / D, rest = stored.numel() / std::max<int64_t>(stored.size(0), 1);
  return stored.reshape({heads, D / 2, 2, rest}).transpose(1, 2).reshape(stored.sizes());
}

// The inverse.
at::Tensor Interleaved(const at::Tensor& ours, int64_t D) {
  const int64_t heads = ours.size(0) / D, rest = ours.numel() / std::max<int64_t>(ours.size(0), 1);
  return ours.reshape({heads, 2, D / 2, rest}).transpose(1, 2).reshape(ours.sizes());
}

// "block3.w_q.weight" -> {"3", "w_q", ".weight"}
struct RoleParts {
  std::string_view layer, role, suffix;
};
RoleParts Parse(std::string_view name) {
  const size_t dot = name.find('.');
  const std::string_view rest = name.substr(dot + 1);
  const size_t part = rest.find('.');
  return {name.substr(5, dot - 5), rest.substr(0, part), part == std::string_view::npos ? "" : rest.substr(part)};
}

void CheckHeadWidth(const std::string& where, int64_t D) {
  if (D < 2 || D % 2 != 0 || D > kMaxWidth)
    throw IoError(fmt::format("{}: head_dim is {}, expected an even number", where, D));
}

// Sizes of the layers: one number for all, or a list with one for each.
struct GgufSizes {
  const GgufFile& gguf;
  const std::string& where;
  const std::string& arch;
  int64_t layers;

  std::vector<int64_t> List(const char* name, int64_t largest) const {
    const std::string key = arch + name;
    std::vector<int64_t> list = gguf.IntList(key);
    const bool scalar = std::holds_alternative<uint64_t>(gguf.metadata().find(key)->second) ||
                        std::holds_alternative<int64_t>(gguf.metadata().find(key)->second);
    if (scalar) list.assign(static_cast<size_t>(layers), list.front());
    if (static_cast<int64_t>(list.size()) != layers)
      throw IoError(
          fmt::format("{}: {} has {} entries, expected {}, one for each layer", where, key, list.size(), layers));
    for (const int64_t size : list)
      if (size < (scalar ? 1 : 0) || size > largest)
        throw IoError(fmt::format("{}: {} is {}, expected {} to {}", where, key, size, scalar ? 1 : 0, largest));
    return list;
  }

  BlockConfig Block(size_t l, int64_t H, int64_t G, int64_t F) const {
    BlockConfig block;
    block.H = H, block.G = G, block.F = F;
    const std::string layer = fmt::format("{}: layer {}", where, l);
    if (H == 0 && G != 0)
      throw IoError(fmt::format("{}: no query heads and {} key/value heads; expected none", layer, G));
    if (H > 0) CheckHeads(layer, H, G);
    if (H > 0 && F == 0)  // llama.cpp reads such a layer and drops its attention
      throw IoError(fmt::format("{}: attention without a feed-forward part; expected a width of at least 1", layer));
    if (H > 0) block.kv_of_head = EvenKvOfHead(H, G);
    return block;
  }
};

Activation ReadActivation(const ConfigReader& config) {
  const char* key = config.Has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const std::string name = config.Maybe<std::string>(key).value_or("silu");
  if (name == "silu") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  throw IoError(fmt::format("{}: {} is '{}'; supported: silu, gelu_pytorch_tanh", config.where(), key, name));
}

}  // namespace

std::string DecoderFamily::StoredFamily(CheckpointFormat format) const {
  return format == CheckpointFormat::kGguf ? traits_.gguf : traits_.name;
}

void DecoderFamily::ReadOwn(const ConfigReader&, ModelConfig&) const {}
void DecoderFamily::ReadOwn(const GgufFile&, ModelConfig&) const {}
void DecoderFamily::WriteOwn(const Model&, Json&) const {}

void DecoderFamily::TakeTraits(ModelConfig& model) const {
  model.family = traits_.name;
  model.norm_placement = traits_.norm_placement;
  model.norm_adds_one = traits_.norm_adds_one;
  model.qk_norm = traits_.qk_norm;
}

ModelConfig DecoderFamily::ReadConfig(const Checkpoint& checkpoint) const {
  if (checkpoint.format() == CheckpointFormat::kGguf) return FromGguf(checkpoint);
  return FromJson(ConfigReader(checkpoint.Config(), (checkpoint.path() / "config.json").string()));
}

ModelConfig DecoderFamily::FromJson(const ConfigReader& config) const {
  ModelConfig model;
  TakeTraits(model);
  model.C = config.Positive("hidden_size", kMaxWidth);
  model.V = config.Positive("vocab_size", kMaxVocabulary);
  model.activation = ReadActivation(config);
  model.norm_epsilon = config.Maybe<double>("rms_norm_eps").value_or(1e-6);
  model.tied_head = config.Flag("tie_word_embeddings");
  model.max_positions = config.Maybe<int64_t>("max_position_embeddings").value_or(2048);
  ReadBlocks(config, model);
  model.D = config.Maybe<int64_t>("head_dim").value_or(model.C / config.Get<int64_t>("num_attention_heads"));
  CheckHeadWidth(config.where(), model.D);
  ReadRope(config, model);
  ReadOwn(config, model);
  return model;
}

ModelConfig DecoderFamily::FromGguf(const Checkpoint& checkpoint) const {
  const GgufFile& gguf = checkpoint.Gguf();
  const std::string where = checkpoint.path().string(), arch = traits_.gguf;
  const auto within = [&](const char* name, int64_t largest) {
    const std::string key = arch + name;
    const int64_t value = gguf.Int(key);
    if (value < 1 || value > largest)
      throw IoError(fmt::format("{}: {} is {}, expected 1 to {}", where, key, value, largest));
    return value;
  };
  ModelConfig model;
  TakeTraits(model);
  model.C = within(".embedding_length", kMaxWidth);
  model.V = checkpoint.Shape("token_embd.weight").at(0);
  model.norm_epsilon = gguf.Real(arch + ".attention.layer_norm_rms_epsilon");
  model.tied_head = !checkpoint.Has("output.weight");
  model.max_positions = gguf.Int(arch + ".context_length");
  const int64_t layers = within(".block_count", kMaxBlocks);
  const GgufSizes sizes{gguf, where, arch, layers};
  const std::vector<int64_t> H = sizes.List(".attention.head_count", kMaxHeads);
  const std::vector<int64_t> G =
      gguf.Has(arch + ".attention.head_count_kv") ? sizes.List(".attention.head_count_kv", kMaxHeads) : H;
  const std::vector<int64_t> F = sizes.List(".feed_forward_length", kMaxWidth);
  for (size_t l = 0; l < H.size(); ++l) model.blocks.push_back(sizes.Block(l, H[l], G[l], F[l]));
  if (H.front() == 0)  // llama.cpp then takes heads of width 0 for the whole model
    throw IoError(fmt::format("{}: {}.attention.head_count of layer 0 is 0, expected at least 1", where, arch));
  model.D = gguf.Has(arch + ".attention.key_length") ? within(".attention.key_length", kMaxWidth) : model.C / H.front();
  CheckHeadWidth(where, model.D);
  ReadGgufRope(checkpoint, arch, model);
  ReadOwn(gguf, model);
  return model;
}

std::string DecoderFamily::TensorName(CheckpointFormat format, std::string_view name) const {
  const bool gguf = format == CheckpointFormat::kGguf;
  const auto pick = [gguf](const StoredName& stored) { return gguf ? stored.gguf : stored.hugging_face; };
  if (const auto found = kModelNames.find(name); found != kModelNames.end()) return pick(found->second);
  const auto [layer, role, suffix] = Parse(name);
  const Names& norms = traits_.norm_placement == NormPlacement::kPre ? kPreNorms : kOuterNorms;
  auto found = norms.find(role);
  if (found == norms.end()) found = kBlockNames.find(role);
  return fmt::format("{}.{}.{}{}", gguf ? "blk" : "model.layers", layer, pick(found->second), suffix);
}

at::Tensor DecoderFamily::FromStored(CheckpointFormat format, const ModelConfig& config, int64_t block,
                                     std::string_view name, const at::Tensor& stored) const {
  const bool gguf = format == CheckpointFormat::kGguf;
  // GGUF stores the factor itself, 1 + weight.
  if (gguf && config.norm_adds_one && name.ends_with("_norm")) return stored - 1;
  if (!name.starts_with("block")) return stored;
  const std::string_view role = Parse(name).role;
  const BlockConfig& sizes = config.blocks[static_cast<size_t>(block)];
  if (sizes.gate != GateKind::kNone && (role == "w_q" || role == "w_output_gate")) {
    const QueryAndGate parts = SplitQueryAndGate(stored, config.gate_layout, sizes, config.D, TensorName(format, name));
    return role == "w_q" ? parts.query : parts.gate;
  }
  if (gguf && traits_.gguf_interleaved && (role == "w_q" || role == "w_k")) return HalfSplit(stored, config.D);
  return stored;
}

std::map<std::string, at::Tensor> DecoderFamily::ToStored(const Model& model) const {
  std::map<std::string, at::Tensor> tensors;
  for (const NamedTensorRef& ref : TensorsOf(const_cast<Model&>(model)))
    if (ref.name.find("w_output_gate") == std::string::npos)
      tensors[TensorName(CheckpointFormat::kHuggingFace, ref.name)] = *ref.tensor;
  for (size_t l = 0; l < model.blocks.size(); ++l) {
    const Attention& attention = model.blocks[l].attention;
    if (!attention.w_output_gate.defined()) continue;
    const auto fuse = [&](const char* suffix, const at::Tensor& query, const at::Tensor& gate) {
      const std::string name = fmt::format("block{}.w_q.{}", l, suffix);
      tensors[TensorName(CheckpointFormat::kHuggingFace, name)] =
          FuseQueryAndGate({query, gate}, model.config.gate_layout, model.config.blocks[l], model.config.D);
    };
    fuse("weight", attention.w_q.weight, attention.w_output_gate.weight);
    if (attention.w_q.bias.defined()) fuse("bias", attention.w_q.bias, attention.w_output_gate.bias);
  }
  return tensors;
}

std::map<std::string, at::Tensor> DecoderFamily::ToGguf(const Model& model) const {
  std::map<std::string, at::Tensor> tensors;
  for (const NamedTensorRef& ref : TensorsOf(const_cast<Model&>(model))) {
    at::Tensor tensor = *ref.tensor;
    ESPALIER_CHECK(ref.name.find("w_output_gate") == std::string::npos, "no GGUF form of output gates");
    if (model.config.norm_adds_one && ref.name.ends_with("_norm")) tensor = tensor + 1;
    const bool turns = ref.name.find(".w_q.") != std::string::npos || ref.name.find(".w_k.") != std::string::npos;
    if (traits_.gguf_interleaved && turns) tensor = Interleaved(tensor, model.config.D);
    tensors[TensorName(CheckpointFormat::kGguf, ref.name)] = tensor;
  }
  return tensors;
}

Json DecoderFamily::WriteConfig(const Model& model) const {
  const ModelConfig& config = model.config;
  Json json = {{"architectures", {traits_.architecture}},
               {"model_type", traits_.name},
               {"hidden_size", config.C},
               {"head_dim", config.D},
               {"vocab_size", config.V},
               {"hidden_act", config.activation == Activation::kSilu ? "silu" : "gelu_pytorch_tanh"},
               {"rms_norm_eps", config.norm_epsilon},
               {"max_position_embeddings", config.max_positions},
               {"tie_word_embeddings", config.tied_head},
               {"dtype", model.dtype() == at::kFloat ? "float32" : "bfloat16"}};
  WriteBlocks(config, json);
  WriteRope(config, json);
  WriteWindows(config, json);
  bool attention_bias = false, mlp_bias = false;
  for (const Block& block : model.blocks)
    for (const Role role : kRoles) (OfAttention(role) ? attention_bias : mlp_bias) |= block.At(role).bias.defined();
  json["attention_bias"] = attention_bias;
  json["mlp_bias"] = mlp_bias;
  WriteOwn(model, json);
  return json;
}

}  // namespace espalier
