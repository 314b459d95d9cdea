// GGUF files of architecture `deci`: Llama whose blocks differ in heads and FFN width, the carrier in which stock
// llama.cpp reads pruned models (docs/export.md). The model is a Llama; only the file calls itself otherwise.
#include "decoder_family.h"

namespace espalier {
namespace {

class Deci final : public DecoderFamily {
 public:
  Deci()
      : DecoderFamily({.name = "llama", .architecture = "LlamaForCausalLM", .gguf = "deci", .gguf_interleaved = true}) {
  }

  std::string StoredFamily(CheckpointFormat format) const override {
    return format == CheckpointFormat::kGguf ? traits_.gguf : "";
  }
};

const bool kRegistered =
    RegisterFamily<Deci>("deci", "GGUF only: Llama with sizes of its own in every block, as llama.cpp's deci",
                         "llama.cpp src/llama-model.cpp; arXiv 2411.19146");

}  // namespace
}  // namespace espalier
