// Qwen2 and Qwen2.5, dense: Llama with biases on q, k and v. arXiv 2407.10671, 2412.15115.
#include "decoder_family.h"

namespace espalier {
namespace {

class Qwen2 final : public DecoderFamily {
 public:
  Qwen2() : DecoderFamily({.name = "qwen2", .architecture = "Qwen2ForCausalLM", .gguf = "qwen2"}) {}

 protected:
  void ReadOwn(const ConfigReader& config, ModelConfig& model) const override { ReadSwitchedWindows(config, model); }
  void WriteOwn(const Model&, Json& json) const override {
    json["use_sliding_window"] = json.contains("sliding_window");
  }
};

const bool kRegistered = RegisterFamily<Qwen2>("qwen2", "Qwen2 and Qwen2.5, dense: pre-norm, biases on q, k and v",
                                               "arXiv 2407.10671, 2412.15115");

}  // namespace
}  // namespace espalier
