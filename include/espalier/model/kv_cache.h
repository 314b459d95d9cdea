#pragma once
// Keys and values of tokens that were run already, so that the next ones cost only themselves.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "espalier/model/forward.h"
#include "espalier/model/model.h"

namespace espalier {

// What a key/value head keeps of the tokens before the current one. With recent > 0 only the first `sinks` and the last
// `recent`, the sinks at the positions that they have inside the cache (StreamingLLM, Xiao et al. 2023, arXiv
// 2309.17453, section 3.2): a query at place t turns as if it stood at min(t, sinks + recent) when it reads a sink, and
// sees the recent ones at their true distance. Blocks with a window drop by their window alone.
struct CachePolicy {
  int64_t sinks = 0;
  int64_t recent = 0;  // 0: nothing is dropped
  // Key/value heads that keep everything all the same, a list a block (DuoAttention, Xiao et al. 2024, arXiv
  // 2410.10819); empty: none.
  std::vector<std::vector<int64_t>> retrieval_heads = {};

  bool Drops() const { return recent > 0; }
};

// Keys after RoPE and values of some heads of one block, oldest first.
class HeadCache {
 public:
  struct Held {
    at::Tensor keys, values;  // [B, heads, held, D]
  };
  // Adds T more, [B, heads, T, D] each; everything held with them.
  Held Append(const at::Tensor& keys, const at::Tensor& values);
  // Lets go of all but the first `first` and the last `last`.
  void Keep(int64_t first, int64_t last);
  int64_t held() const { return held_; }
  int64_t bytes() const;

 private:
  at::Tensor keys_, values_;  // [B, heads, room, D]
  int64_t held_ = 0;
};

// A copy shares what is held and goes on from there; the original may go on only when the copy is done, as both write
// to the same room.
class KvCache {
 public:
  // RecipeError for a policy that does not fit the model.
  explicit KvCache(const Model& model, CachePolicy policy = {});

  const CachePolicy& policy() const { return policy_; }
  int64_t tokens() const { return tokens_; }  // run so far
  int64_t bytes() const;                      // of keys and values, with the room that they grow into

  // For the forward pass: T tokens come, T tokens went through every block.
  void Begin(int64_t T);
  void End();

  struct BlockCache {
    std::vector<int64_t> streaming, whole;  // key/value heads that drop, and the others
    HeadCache streamed, kept;
  };
  BlockCache& Of(int64_t block) { return blocks_.at(static_cast<size_t>(block)); }
  const Rope& rope() const { return rope_; }                // of the tokens that come, at their places
  const RopeTable& sink_rope() const { return at_sinks_; }  // of the same tokens as they read sinks

 private:
  const ModelConfig& config_;
  at::Device device_;
  at::ScalarType dtype_;
  CachePolicy policy_;
  std::vector<BlockCache> blocks_;
  int64_t tokens_ = 0, coming_ = 0;
  Rope rope_;
  RopeTable at_sinks_;
};

inline constexpr int64_t kPrefillChunk = 512;  // tokens of a prompt that run together

// Runs ids [B, T] after what the cache holds, in chunks so that memory does not grow with T squared: hidden states of
// the last token after the final norm, [B, C]. The model must have no intervention.
at::Tensor Prefill(const Model& model, const at::Tensor& ids, KvCache& cache);
// The same for all T tokens, in one pass: [B, T, C].
at::Tensor HiddenStates(const Model& model, const at::Tensor& ids, KvCache& cache);

// Greedy continuation of prompts [B, T] of equal length by `count` tokens: [B, count] int64. A row that came to a token
// of `stops` goes on with that token.
at::Tensor Generate(const Model& model, const at::Tensor& prompts, int64_t count, const std::vector<int64_t>& stops,
                    KvCache& cache);
// The same after a prompt that the cache holds already; hidden [B, C] of its last token, as Prefill returned it.
at::Tensor Continue(const Model& model, const at::Tensor& hidden, int64_t count, const std::vector<int64_t>& stops,
                    KvCache& cache);

}  // namespace espalier
