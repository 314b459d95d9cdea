// OLMo 2: RMSNorm on each sublayer's output instead of its input, QK-norm over all heads together. arXiv 2501.00656.
#include "decoder_family.h"

namespace espalier {
namespace {

class Olmo2 final : public DecoderFamily {
 public:
  Olmo2()
      : DecoderFamily({.name = "olmo2",
                       .architecture = "Olmo2ForCausalLM",
                       .norm_placement = NormPlacement::kPost,
                       .qk_norm = QkNorm::kAllHeads}) {}
};

const bool kRegistered =
    RegisterFamily<Olmo2>("olmo2", "OLMo 2: post-norm, QK-norm over all heads", "arXiv 2501.00656");

}  // namespace
}  // namespace espalier
