#pragma once
// The taps of the forward pass, and who may look at them or change them.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace espalier {

// In the order of the pass. Shapes: B batch, T tokens. N is the width of w_o's input: H*D, or less where value channels
// were cut; queries, keys and values have zeros in the dimensions that were cut.
enum class Site {
  kBlockInput,    // [B, T, C]
  kAttnNorm,      // [B, T, C], what w_q, w_k, w_v and the gate read
  kQ,             // [B, H, T, D] after norm and RoPE
  kK,             // [B, G, T, D] after norm and RoPE
  kV,             // [B, G, T, D]
  kAttnProbs,     // [B, H, T, T], only formed when wanted; with sink logits a row sums to less than 1
  kSdpaOut,       // [B, T, N], attention's output before any gate
  kGateScore,     // [B, T, H, D] or [B, T, H, 1]: the factor on kSdpaOut: sigmoid of the gate; with sink logits,
                  // sigmoid(logsumexp - sink logit), the same algebra. Only where there is one.
  kHeadOut,       // [B, T, N], the input of w_o
  kAttnOut,       // [B, T, C], what is added
  kAttnResidual,  // [B, T, C], after the addition
  kFfnNorm,       // [B, T, C], what w_gate and w_up read
  kFfnHidden,     // [B, T, F], the input of w_down
  kFfnOut,        // [B, T, C], what is added
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

// An intervention: replaces values as they pass, before any observer sees them.
class Edit {
 public:
  virtual ~Edit() = default;
  // The value itself, or another of the same shape. Not asked at kAttnProbs.
  virtual at::Tensor Replace(int64_t block, Site site, const at::Tensor& value) = 0;
};

}  // namespace espalier
