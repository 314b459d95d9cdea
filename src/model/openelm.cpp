// GGUF files of architecture `openelm`: sizes of their own in every block, per-head QK-norm, tied head, no biases, q, k
// and v fused: the carrier in which stock llama.cpp reads pruned tied Qwen3 models (docs/export.md). The model is a
// Qwen3; only the file calls itself otherwise.
#include <ATen/ATen.h>

#include "decoder_family.h"

namespace espalier {
namespace {

class OpenElm final : public DecoderFamily {
 public:
  OpenElm()
      : DecoderFamily(
            {.name = "qwen3", .architecture = "Qwen3ForCausalLM", .gguf = "openelm", .qk_norm = QkNorm::kPerHead}) {}

  std::string StoredFamily(CheckpointFormat format) const override {
    return format == CheckpointFormat::kGguf ? traits_.gguf : "";
  }

  std::string TensorName(CheckpointFormat format, std::string_view name) const override {
    std::string stored = DecoderFamily::TensorName(format, name);
    for (const char* part : {".attn_q.", ".attn_k.", ".attn_v."})
      if (const size_t at = stored.find(part); at != std::string::npos) return stored.replace(at, 8, ".attn_qkv.");
    return stored;
  }

  at::Tensor FromStored(CheckpointFormat format, const ModelConfig& config, int64_t block, std::string_view name,
                        const at::Tensor& stored) const override {
    const BlockConfig& sizes = config.blocks[static_cast<size_t>(block)];
    const int64_t q = sizes.H * config.D, kv = sizes.G * config.D;
    const bool is_q = name.ends_with("w_q.weight"), is_k = name.ends_with("w_k.weight");
    if (!is_q && !is_k && !name.ends_with("w_v.weight"))
      return DecoderFamily::FromStored(format, config, block, name, stored);
    if (stored.size(0) != q + 2 * kv)
      throw IoError(fmt::format("{}: found {} rows, expected {} of {} query and {} key/value heads",
                                TensorName(format, name), stored.size(0), q + 2 * kv, sizes.H, sizes.G));
    return stored.narrow(0, is_q ? 0 : is_k ? q : q + kv, is_q ? q : kv);
  }

  std::map<std::string, at::Tensor> ToGguf(const Model& model) const override {
    std::map<std::string, at::Tensor> tensors = DecoderFamily::ToGguf(model);
    for (size_t l = 0; l < model.blocks.size(); ++l) {
      const Attention& attention = model.blocks[l].attention;
      if (attention.w_q.defined())
        tensors[fmt::format("blk.{}.attn_qkv.weight", l)] =
            at::cat({attention.w_q.weight, attention.w_k.weight, attention.w_v.weight});
    }
    return tensors;
  }
};

const bool kRegistered = RegisterFamily<OpenElm>(
    "openelm", "GGUF only: tied Qwen3 with sizes of its own in every block, as llama.cpp's openelm",
    "llama.cpp src/llama-model.cpp; arXiv 2404.14619");

}  // namespace
}  // namespace espalier
