// Mistral 7B and its dense successors: Llama with an optional window in every layer. arXiv 2310.06825.
#include "decoder_family.h"

namespace espalier {
namespace {

class Mistral final : public DecoderFamily {
 public:
  // llama.cpp's converter writes Mistral as llama.
  Mistral() : DecoderFamily({.name = "mistral", .architecture = "MistralForCausalLM"}) {}

 protected:
  void ReadOwn(const ConfigReader& config, ModelConfig& model) const override {
    ReadWindows(config, model, [&](int64_t) { return config.Has("sliding_window"); });
  }
};

const bool kRegistered =
    RegisterFamily<Mistral>("mistral", "Mistral: Llama with an optional attention window", "arXiv 2310.06825");

}  // namespace
}  // namespace espalier
