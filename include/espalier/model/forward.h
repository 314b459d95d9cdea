#pragma once
// The forward pass, block by block, with a tap at every intermediate. Without an observer it costs nothing extra.
#include <ATen/core/Tensor.h>

#include "espalier/model/model.h"
#include "espalier/model/site.h"

namespace espalier {

class KvCache;  // model/kv_cache.h

// Cosines and sines of T positions, half-split convention of Hugging Face.
struct RopeTable {
  at::Tensor cos, sin;                           // [T, R], R = rotated dimensions
  at::Tensor Rotate(const at::Tensor& x) const;  // [B, n, T, D] -> same; dimensions from R on stay
};
struct Rope {
  RopeTable full, windowed;
  // What gates read that do not look at the state: sinusoids [T, C] of the positions, or the tokens' embeddings
  // [B, T, C]. Undefined where no gate does.
  at::Tensor gate_signal = {};
  const RopeTable& Of(const BlockConfig& block) const { return block.window > 0 ? windowed : full; }
};
// Of positions 0..T-1, or of those given: [T] float32.
Rope MakeRope(const ModelConfig& config, int64_t T, at::Device device, at::ScalarType dtype);
Rope MakeRope(const ModelConfig& config, const at::Tensor& positions, at::Device device, at::ScalarType dtype);

// The same for one batch: where gates read token embeddings [B, T, C], they go along.
Rope RopeWith(const Rope& rope, const ModelConfig& config, const at::Tensor& embedded);

// Frequencies in radians a position, [R/2], each rounded to float32 as transformers does.
std::vector<float> RopeFrequencies(const RopeConfig& rope, int64_t D);

// RMSNorm's factor as it is applied: weight, or 1 + weight.
at::Tensor NormGain(const ModelConfig& config, const at::Tensor& weight);
// The activation of the FFN's gate, elementwise.
at::Tensor Activate(const ModelConfig& config, const at::Tensor& x);

at::Tensor Embed(const Model& model, const at::Tensor& ids);  // [B, T] int64 -> [B, T, C]
// With a cache, attention also reads the keys and values that it holds, and leaves its own there.
at::Tensor RunBlock(const Model& model, int64_t block, const at::Tensor& h, const Rope& rope,
                    Observer* observer = nullptr, KvCache* cache = nullptr);
// Its two halves, each with its addition: [B, T, C] -> [B, T, C]. A sublayer that is gone adds its constant.
at::Tensor RunAttention(const Model& model, int64_t block, const at::Tensor& h, const Rope& rope,
                        Observer* observer = nullptr, KvCache* cache = nullptr);
at::Tensor RunFeedForward(const Model& model, int64_t block, const at::Tensor& residual, Observer* observer = nullptr);
// What attention reads of its input: RMSNorm where the block has one before attention. [B, T, C] -> [B, T, C]
at::Tensor AttentionInput(const Model& model, int64_t block, const at::Tensor& h);
at::Tensor FinalNorm(const Model& model, const at::Tensor& h);

// Everything but the head: [B, T] int64 -> [B, T, C] after the final norm.
at::Tensor HiddenStates(const Model& model, const at::Tensor& ids, Observer* observer = nullptr);
// [B, T] -> [B, T, V]. For tests and short texts: evaluation uses TokenNll, which never forms this tensor.
at::Tensor Logits(const Model& model, const at::Tensor& ids, Observer* observer = nullptr);

// Negative log-likelihood of targets [N] int64 under hidden states [N, C], in nats: [N] float32. Logits exist for 256
// rows at a time.
at::Tensor TokenNll(const Model& model, const at::Tensor& hidden, const at::Tensor& targets);

}  // namespace espalier
