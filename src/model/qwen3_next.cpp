// Qwen3-Next, its layers with softmax attention: an output gate in layout C, partial RoPE, norms that multiply by 1 +
// w. Linear-attention layers and experts are refused by name.
#include "decoder_family.h"

namespace espalier {
namespace {

class Qwen3Next final : public DecoderFamily {
 public:
  Qwen3Next()
      : DecoderFamily({.name = "qwen3_next",
                       .architecture = "Qwen3NextForCausalLM",
                       .norm_adds_one = true,
                       .qk_norm = QkNorm::kPerHead}) {}

 protected:
  void ReadOwn(const ConfigReader& config, ModelConfig& model) const override {
    const int64_t interval = config.Maybe<int64_t>("full_attention_interval").value_or(4);
    if (!config.Has("layer_types") && interval != 1)
      throw IoError(
          fmt::format("{}: full_attention_interval is {}, so there are 'linear_attention' layers, which are not "
                      "supported; supported: full_attention",
                      config.where(), interval));
    ReadWindows(config, model, [](int64_t) { return false; });
    if (config.Maybe<int64_t>("num_experts").value_or(512) > 0 && !AllDense(config, model))
      throw IoError(
          fmt::format("{}: num_experts is not 0: mixture-of-experts layers are not supported", config.where()));
    if (!config.Has("partial_rotary_factor") && !RopeNames(config, "partial_rotary_factor"))
      model.rope.rotated = model.D / 4;  // the default of its configuration class
    model.gate_layout = GateLayout::kPerHead;
    for (BlockConfig& block : model.blocks) block.gate = GateKind::kElementwise;
  }

  void WriteOwn(const Model& model, Json& json) const override {
    json["layer_types"] = Json(std::vector<std::string>(model.blocks.size(), "full_attention"));
    json["num_experts"] = 0;
    json["attn_output_gate"] = true;
  }

 private:
  static bool RopeNames(const ConfigReader& config, const char* key) {
    return config.Has("rope_parameters") && config.Inside("rope_parameters").Has(key);
  }

  static bool AllDense(const ConfigReader& config, const ModelConfig& model) {
    const auto listed = config.json().find("mlp_only_layers");
    if (listed == config.json().end() || !listed->is_array()) return false;
    for (int64_t layer = 0; layer < model.L(); ++layer)
      if (std::find(listed->begin(), listed->end(), layer) == listed->end()) return false;
    return true;
  }
};

const bool kRegistered = RegisterFamily<Qwen3Next>(
    "qwen3_next", "Qwen3-Next, layers with full attention: output gate in layout C, partial RoPE, 1 + w norms",
    "arXiv 2505.06708");

}  // namespace
}  // namespace espalier
