#include "espalier/model/kv_cache.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {

using at::Tensor;

HeadCache::Held HeadCache::Append(const Tensor& keys, const Tensor& values) {
  const int64_t needed = held_ + keys.size(2);
  if (!keys_.defined() || needed > keys_.size(2)) {  // in steps of a quarter, so that a token costs no copy of all
    const int64_t room = keys_.defined() ? std::max(needed, keys_.size(2) + keys_.size(2) / 4) : needed;
    const auto grown = [&](const Tensor& old, const Tensor& like) {
      Tensor larger = at::empty({like.size(0), like.size(1), room, like.size(3)}, like.options());
      if (held_ > 0) larger.narrow(2, 0, held_).copy_(old.narrow(2, 0, held_));
      return larger;
    };
    keys_ = grown(keys_, keys);
    values_ = grown(values_, values);
  }
  keys_.narrow(2, held_, keys.size(2)).copy_(keys);
  values_.narrow(2, held_, keys.size(2)).copy_(values);
  held_ = needed;
  return {keys_.narrow(2, 0, held_), values_.narrow(2, 0, held_)};
}

void HeadCache::Keep(int64_t first, int64_t last) {
  if (held_ <= first + 2 * last) return;  // dropped rarely, so that a token costs no copy; readers mask the rest
  for (Tensor* all : {&keys_, &values_})
    *all = at::cat({all->narrow(2, 0, first), all->narrow(2, held_ - last, last)}, 2);
  held_ = first + last;
}

int64_t HeadCache::bytes() const {
  return keys_.defined() ? static_cast<int64_t>(keys_.nbytes() + values_.nbytes()) : 0;
}

KvCache::KvCache(const Model& model, CachePolicy policy)
    : config_(model.config),
      device_(model.device()),
      dtype_(model.dtype()),
      policy_(std::move(policy)),
      blocks_(model.config.blocks.size()) {
  const Variants& variants = config_.variants;
  if (policy_.Drops() && (variants.kv_bias || variants.weights == AttentionWeights::kSoftpick ||
                          variants.weights == AttentionWeights::kClipped))
    throw RecipeError(
        "a cache that drops tokens reads softmax attention without key biases; use a cache without limit");
  const std::vector<std::vector<int64_t>>& lists = policy_.retrieval_heads;
  if (!lists.empty() && lists.size() != blocks_.size())
    throw RecipeError(
        fmt::format("retrieval_heads: {} lists, expected one for each of {} blocks", lists.size(), blocks_.size()));
  for (size_t l = 0; l < blocks_.size(); ++l) {
    const BlockConfig& block = config_.blocks[l];
    const std::vector<int64_t> retrieval = lists.empty() ? std::vector<int64_t>{} : lists[l];
    for (const int64_t head : retrieval)
      if (head < 0 || head >= block.G)
        throw RecipeError(
            fmt::format("retrieval_heads: block {} has no key/value head {}, expected 0 to {}", l, head, block.G - 1));
    for (int64_t group = 0; group < block.G; ++group) {
      const bool drops = policy_.Drops() && block.window == 0 && std::ranges::find(retrieval, group) == retrieval.end();
      (drops ? blocks_[l].streaming : blocks_[l].whole).push_back(group);
    }
  }
}

int64_t KvCache::bytes() const {
  int64_t sum = 0;
  for (const BlockCache& block : blocks_) sum += block.streamed.bytes() + block.kept.bytes();
  return sum;
}

void KvCache::Begin(int64_t T) {
  const Tensor places = at::arange(tokens_, tokens_ + T, at::kFloat);
  rope_ = MakeRope(config_, places, device_, dtype_);
  if (policy_.Drops())
    at_sinks_ =
        MakeRope(config_, places.clamp_max(static_cast<double>(policy_.sinks + policy_.recent)), device_, dtype_).full;
  coming_ = T;
}

void KvCache::End() {
  tokens_ += coming_;
  coming_ = 0;
}

Tensor HiddenStates(const Model& model, const Tensor& ids, KvCache& cache) {
  ESPALIER_CHECK(model.edit == nullptr, "a cache knows nothing of interventions");
  cache.Begin(ids.size(1));
  Tensor h = Embed(model, ids);  // [B, T, C]
  const Rope rope = RopeWith(cache.rope(), model.config, h);
  for (int64_t l = 0; l < model.config.L(); ++l) h = RunBlock(model, l, h, rope, nullptr, &cache);
  cache.End();
  return FinalNorm(model, h);
}

Tensor Prefill(const Model& model, const Tensor& ids, KvCache& cache) {
  Tensor last;
  for (int64_t begin = 0; begin < ids.size(1); begin += kPrefillChunk) {
    const Tensor hidden = HiddenStates(model, ids.slice(1, begin, begin + kPrefillChunk), cache);
    last = hidden.select(1, -1).clone();
  }
  return last;
}

Tensor Continue(const Model& model, const Tensor& last_hidden, int64_t count, const std::vector<int64_t>& stops,
                KvCache& cache) {
  const at::NoGradGuard no_grad;
  const Tensor stopping = at::tensor(stops, at::kLong).to(model.device());
  Tensor hidden = last_hidden;  // [B, C]
  std::vector<Tensor> generated;
  while (true) {
    Tensor next = at::linear(hidden, model.Head()).argmax(-1);  // [B]
    if (!generated.empty()) next = at::where(at::isin(generated.back(), stopping), generated.back(), next);
    generated.push_back(next);
    if (std::ssize(generated) == count) break;
    if (!stops.empty() && at::isin(next, stopping).all().item<bool>()) break;
    hidden = HiddenStates(model, next.unsqueeze(1), cache).squeeze(1);
  }
  while (std::ssize(generated) < count) generated.push_back(generated.back());
  return at::stack(generated, 1).cpu();
}

Tensor Generate(const Model& model, const Tensor& prompts, int64_t count, const std::vector<int64_t>& stops,
                KvCache& cache) {
  const at::NoGradGuard no_grad;
  return Continue(model, Prefill(model, prompts, cache), count, stops, cache);
}

}  // namespace espalier
