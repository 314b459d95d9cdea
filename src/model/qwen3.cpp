// Qwen3, dense (arXiv 2505.09388), and the gated Qwen3 of "Gated Attention for Large Language Models" (arXiv
// 2505.06708): the same model_type, told apart by flags of config.json alone.
#include <ATen/core/Tensor.h>

#include "decoder_family.h"

namespace espalier {
namespace {

// The authors' code: layouts A and B. Qwen3.5-style configurations: layout C.
constexpr const char* kElementwise = "elementwise_attn_output_gate";
constexpr const char* kHeadwise = "headwise_attn_output_gate";
constexpr const char* kPerHead = "attn_output_gate";

class Qwen3 final : public DecoderFamily {
 public:
  Qwen3()
      : DecoderFamily(
            {.name = "qwen3", .architecture = "Qwen3ForCausalLM", .gguf = "qwen3", .qk_norm = QkNorm::kPerHead}) {}

  at::Tensor FromStored(CheckpointFormat format, const ModelConfig& config, int64_t block, std::string_view name,
                        const at::Tensor& stored) const override {
    const BlockConfig& sizes = config.blocks[static_cast<size_t>(block)];
    const int64_t plain = sizes.H * config.D;
    if (name.ends_with("w_q.weight") && sizes.gate == GateKind::kNone &&
        (stored.size(0) == 2 * plain || stored.size(0) == plain + sizes.H))
      throw IoError(
          fmt::format("{}: {} rows for {} query heads of {}: this looks like a fused output gate, but config.json "
                      "names no layout and "
                      "the shape cannot tell; set {} (A), {} (B) or {} (C) to true",
                      TensorName(format, name), stored.size(0), sizes.H, config.D, kElementwise, kHeadwise, kPerHead));
    return DecoderFamily::FromStored(format, config, block, name, stored);
  }

 protected:
  void ReadOwn(const ConfigReader& config, ModelConfig& model) const override {
    ReadSwitchedWindows(config, model);
    ReadGate(config, model);
  }

  void WriteOwn(const Model& model, Json& json) const override {
    json["use_sliding_window"] = json.contains("sliding_window");
    GateKind gate = GateKind::kNone;
    for (const BlockConfig& block : model.config.blocks)
      if (block.gate != GateKind::kNone) gate = block.gate;
    if (gate == GateKind::kNone) return;
    const bool grouped = model.config.gate_layout == GateLayout::kGrouped;
    json[!grouped ? kPerHead : gate == GateKind::kElementwise ? kElementwise : kHeadwise] = true;
    if (grouped) json["qkv_bias"] = json.at("attention_bias");  // what the authors' code reads
  }

 private:
  static void ReadGate(const ConfigReader& config, ModelConfig& model) {
    const bool elementwise = config.Flag(kElementwise), headwise = config.Flag(kHeadwise),
               per_head = config.Flag(kPerHead);
    if (elementwise + headwise + per_head > 1)
      throw IoError(
          fmt::format("{}: more than one of {}, {} and {} is true; they are different layouts of q_proj, keep one",
                      config.where(), kElementwise, kHeadwise, kPerHead));
    if (!elementwise && !headwise && !per_head) return;
    model.gate_layout = per_head ? GateLayout::kPerHead : GateLayout::kGrouped;
    for (BlockConfig& block : model.blocks) block.gate = headwise ? GateKind::kHeadwise : GateKind::kElementwise;
  }
};

const bool kRegistered = RegisterFamily<Qwen3>(
    "qwen3", "Qwen3, dense, and gated Qwen3: pre-norm, QK-norm, optional output gate (layouts A, B, C)",
    "arXiv 2505.09388, 2505.06708");

}  // namespace
}  // namespace espalier
