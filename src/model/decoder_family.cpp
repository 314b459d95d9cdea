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
  BlockConfig block;
  block.H = within(".attention.head_count", kMaxHeads);
  block.G = gguf.Has(arch + ".attention.head_count_kv") ? within(".attention.head_count_kv", kMaxHeads) : block.H;
  block.F = within(".feed_forward_length", kMaxWidth);
  CheckHeads(where, block.H, block.G);
  block.kv_of_head = EvenKvOfHead(block.H, block.G);
  model.D = gguf.Has(arch + ".attention.key_length") ? within(".attention.key_length", kMaxWidth) : model.C / block.H;
  CheckHeadWidth(where, model.D);
  model.blocks.assign(static_cast<size_t>(within(".block_count", kMaxBlocks)), block);
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
