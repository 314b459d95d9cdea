// Block influence, ShortGPT (Men et al. 2024, arXiv 2403.03853): 1 - E_t cos(h_in, h_out), the residual stream before
// and after the block; for attention and ffn before and after that sublayer's addition. The mean is over the tokens
// that calibration counts, each once: a spike token does not turn at all between its producer and its consumer. It is
// blind to what a spike is worth: on SmolLM2-135M the block that makes the main spike ranks as ordinary, and dropping
// it costs four times the perplexity. Protect such blocks (protect: [spike_producers]). Statistics: influence, no
// gradients.
#include <ATen/ATen.h>

#include "stream_influence.h"

namespace espalier {
namespace {

class BlockInfluence final : public Scorer {
 public:
  bool Scores(UnitKind kind) const override { return TurnsTheStream(kind); }
  at::Tensor Score(const ScoreInput& input) const override {
    return at::full({1, 1}, 1 - InfluenceFor(input).cosine, at::kDouble);
  }
};

const bool kRegistered = Registry<Scorer>::Register(
    {"block_influence",
     "1 - mean cosine of the residual stream before and after the sublayer or block",
     "ShortGPT, Men et al. 2024, arXiv 2403.03853",
     {"influence"},
     {}},
    [](const Options&) -> std::unique_ptr<Scorer> { return std::make_unique<BlockInfluence>(); });

}  // namespace
}  // namespace espalier
