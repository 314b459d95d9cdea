// Llama 1, 2, 3 and what shares their architecture (SmolLM2, TinyLlama): arXiv 2302.13971, 2307.09288, 2407.21783.
#include <algorithm>

#include "decoder_family.h"

namespace espalier {
namespace {

class Llama final : public DecoderFamily {
 public:
  Llama()
      : DecoderFamily(
            {.name = "llama", .architecture = "LlamaForCausalLM", .gguf = "llama", .gguf_interleaved = true}) {}

 protected:
  // Not in stock Llama: learned sink logits as in gpt-oss (`attention_sinks`), and its alternating windows.
  void ReadOwn(const ConfigReader& config, ModelConfig& model) const override {
    ReadWindows(config, model, [](int64_t) { return false; });
    for (BlockConfig& block : model.blocks) block.sink_logits = config.Flag("attention_sinks");
  }
  void WriteOwn(const Model& model, Json& json) const override {
    const auto& blocks = model.config.blocks;
    if (std::any_of(blocks.begin(), blocks.end(), [](const BlockConfig& block) { return block.sink_logits; }))
      json["attention_sinks"] = true;
  }
};

const bool kRegistered =
    RegisterFamily<Llama>("llama", "Llama 1 to 3, SmolLM2, TinyLlama: pre-norm, RoPE, grouped-query attention, SwiGLU",
                          "arXiv 2302.13971, 2307.09288, 2407.21783");

}  // namespace
}  // namespace espalier
