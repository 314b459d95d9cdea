#pragma once
// The forward pass, block by block, with a tap at every intermediate. Without an observer it costs nothing extra.
#include <ATen/core/Tensor.h>

#include <string_view>

#include "espalier/model/model.h"

namespace espalier {

// Taps in the order of the pass. Shapes: B batch, T tokens.
enum class Site {
  kBlockInput,    // [B, T, C]
  kAttnNorm,      // [B, T, C]
  kQ,             // [B, H, T, D] after RoPE
  kK,             // [B, G, T, D] after RoPE
  kV,             // [B, G, T, D]
  kAttnProbs,     // [B, H, T, T], only formed when wanted
  kHeadOut,       // [B, T, H*D], the input of w_o
  kAttnOut,       // [B, T, C]
  kAttnResidual,  // [B, T, C], after the addition
  kFfnNorm,       // [B, T, C]
  kFfnHidden,     // [B, T, F], the input of w_down
  kFfnOut,        // [B, T, C]
  kBlockOutput,   // [B, T, C], after the addition
  kFinalNorm,     // [B, T, C], block = L
  kLogits,        // [B, T, V], block = L
};
std::string_view SiteName(Site site);  // "head_out"

class Observer {
 public:
  virtual ~Observer() = default;
  virtual bool Wants(int64_t block, Site site) const = 0;
  virtual void Observe(int64_t block, Site site, const at::Tensor& value) = 0;
};

// Cosines and sines for positions 0..T-1, half-split convention of Hugging Face.
struct Rope {
  at::Tensor cos, sin;                           // [T, D]
  at::Tensor Rotate(const at::Tensor& x) const;  // [B, n, T, D] -> same
};
Rope MakeRope(const ModelConfig& config, int64_t T, at::Device device, at::ScalarType dtype);

at::Tensor Embed(const Model& model, const at::Tensor& ids);  // [B, T] int64 -> [B, T, C]
at::Tensor RunBlock(const Model& model, int64_t block, const at::Tensor& h, const Rope& rope,
                    Observer* observer = nullptr);
at::Tensor FinalNorm(const Model& model, const at::Tensor& h);

// Everything but the head: [B, T] int64 -> [B, T, C] after the final norm.
at::Tensor HiddenStates(const Model& model, const at::Tensor& ids, Observer* observer = nullptr);
// [B, T] -> [B, T, V]. For tests and short texts: evaluation uses TokenNll, which never forms this tensor.
at::Tensor Logits(const Model& model, const at::Tensor& ids, Observer* observer = nullptr);

// Negative log-likelihood of targets [N] int64 under hidden states [N, C], in nats: [N] float32. Logits exist for 256
// rows at a time.
at::Tensor TokenNll(const Model& model, const at::Tensor& hidden, const at::Tensor& targets);

}  // namespace espalier
