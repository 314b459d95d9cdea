// Gemma 3, text: norms before and after each sublayer, 1 + w norms, GeGLU, scaled embeddings, QK-norm, five windowed
// layers for each full one. arXiv 2503.19786.
#include <cmath>

#include "decoder_family.h"

namespace espalier {
namespace {

constexpr int64_t kPattern = 6;           // every sixth layer has full attention, in all published models
constexpr int64_t kLayersOf27B = 62;      // whose logits are scaled by C / H instead of D
constexpr double kWindowedTheta = 10000;  // likewise

class Gemma3 final : public DecoderFamily {
 public:
  Gemma3()
      : DecoderFamily({.name = "gemma3_text",
                       .architecture = "Gemma3ForCausalLM",
                       .gguf = "gemma3",
                       .norm_placement = NormPlacement::kSandwich,
                       .norm_adds_one = true,
                       .qk_norm = QkNorm::kPerHead}) {}

 protected:
  void ReadOwn(const ConfigReader& config, ModelConfig& model) const override {
    config.Refuse("attn_logit_softcapping", "capping of attention logits");
    config.Refuse("final_logit_softcapping", "capping of logits");
    config.Refuse("use_bidirectional_attention", "bidirectional attention");
    model.activation = Activation::kGeluTanh;
    if (const auto act = config.Maybe<std::string>("hidden_activation"); act && *act != "gelu_pytorch_tanh")
      throw IoError(fmt::format("{}: hidden_activation is '{}', expected gelu_pytorch_tanh", config.where(), *act));
    model.tied_head = config.Maybe<bool>("tie_word_embeddings").value_or(true);
    model.attention_scale = 1 / std::sqrt(config.Maybe<double>("query_pre_attn_scalar").value_or(256));
    const int64_t pattern = config.Maybe<int64_t>("sliding_window_pattern").value_or(kPattern);
    ReadWindows(config, model, [pattern](int64_t layer) { return (layer + 1) % pattern != 0; });
    Finish(model);
  }

  void ReadOwn(const GgufFile& gguf, ModelConfig& model) const override {
    model.activation = Activation::kGeluTanh;
    const int64_t pattern = gguf.Has("gemma3.attention.sliding_window_pattern")
                                ? gguf.Int("gemma3.attention.sliding_window_pattern")
                                : kPattern;
    for (int64_t l = 0; l < model.L(); ++l)
      if (pattern < 1 || (l + 1) % pattern != 0)
        model.blocks[static_cast<size_t>(l)].window = gguf.Int("gemma3.attention.sliding_window");
    if (gguf.Has("gemma3.rope.freq_base_swa")) {
      model.windowed_rope = RopeConfig();
      model.windowed_rope->theta = gguf.Real("gemma3.rope.freq_base_swa");
    }
    if (model.L() == kLayersOf27B)
      model.attention_scale = 1 / std::sqrt(static_cast<double>(model.C / model.blocks[0].H));
    Finish(model);
  }

  void WriteOwn(const Model& model, Json& json) const override {
    json["hidden_activation"] = json.at("hidden_act");
    json.erase("hidden_act");
    const double scale = model.config.AttentionScale();
    json["query_pre_attn_scalar"] = std::round(1 / (scale * scale));
  }

 private:
  static void Finish(ModelConfig& model) {
    model.embedding_scale = std::sqrt(static_cast<double>(model.C));
    if (model.windowed_rope) return;
    model.windowed_rope = RopeConfig();
    model.windowed_rope->theta = kWindowedTheta;
  }
};

const bool kRegistered = RegisterFamily<Gemma3>(
    "gemma3_text", "Gemma 3, text: sandwich norm, 1 + w norms, GeGLU, windows, QK-norm, scaled embeddings",
    "arXiv 2503.19786");

}  // namespace
}  // namespace espalier
