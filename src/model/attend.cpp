#include "attend.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <optional>

namespace espalier {
namespace {

using at::Tensor;

bool IsEven(const BlockConfig& block) {
  return block.H % block.G == 0 && block.kv_of_head == EvenKvOfHead(block.H, block.G);
}

Tensor PerHead(const Tensor& kv, const BlockConfig& block) {
  return kv.index_select(1, at::tensor(block.kv_of_head, at::kLong).to(kv.device()));  // [B, H, T, D]
}

// Which keys the last T of K tokens see, where the keys are the tokens without a gap: [T, K] bool.
Tensor Visible(const BlockConfig& block, int64_t T, int64_t K, at::Device device) {
  Tensor visible = at::ones({T, K}, at::TensorOptions(at::kBool).device(device)).tril_(K - T);
  return block.window > 0 ? visible.triu_(K - T + 1 - block.window) : visible;
}

// Masked, scaled logits of one block in full, because somebody looks at them or adds to them: [B, H, T, K].
Tensor AttentionLogits(const AttendInput& in) {
  const Tensor scores = in.q.matmul(PerHead(in.k, in.block).transpose(2, 3)).mul_(in.config.AttentionScale());
  return scores.masked_fill_(Visible(in.block, in.q.size(2), in.k.size(2), in.q.device()).logical_not_(),
                             -std::numeric_limits<double>::infinity());
}

// Softmax with an extra logit s whose value is zero equals softmax(..) v times sigmoid(logsumexp - s): [B, H, T, 1].
// Softmax1 is s = 0.
Tensor SinkLogitScore(const AttendInput& in, const Tensor& logits) {
  const Tensor whole = logits.logsumexp(-1, /*keepdim=*/true);
  if (!in.attention.sink_logits.defined()) return whole.sigmoid();
  return (whole - in.attention.sink_logits.view({1, in.block.H, 1, 1})).sigmoid();
}

bool HasSinkLogits(const AttendInput& in) {
  return in.attention.sink_logits.defined() || in.config.variants.weights == AttentionWeights::kSoftmax1;
}

// relu(e^x - 1) / (sum |e^x - 1| + 1e-8) over what is seen (Zuhri et al. 2025, arXiv 2504.20966), in the stable form:
// both sides times e^-m, m the largest of the logits and 0.
Tensor Softpick(const Tensor& logits) {
  constexpr double kEpsilon = 1e-8;
  const Tensor seen = logits.masked_fill(logits.isneginf(), 0);  // e^0 - 1 = 0: adds nothing
  const Tensor most = seen.detach().amax(-1, /*keepdim=*/true).clamp_min(0), unit = (-most).exp();
  const Tensor x = (seen - most).exp() - unit;
  return x.relu() / (x.abs().sum(-1, /*keepdim=*/true) + kEpsilon * unit);
}

Tensor WeightsOf(const Variants& variants, const Tensor& logits) {
  if (variants.weights == AttentionWeights::kSoftpick) return Softpick(logits);
  const Tensor softmax = logits.softmax(-1);
  if (variants.weights != AttentionWeights::kClipped) return softmax;
  return (softmax * (variants.clip_high - variants.clip_low) + variants.clip_low).clamp(0, 1);
}

// Weights of a study's kind, and a learned key and value beside those of the tokens.
Attended AttendAsVaried(const AttendInput& in, const Tap& tap) {
  const int64_t B = in.q.size(0), K = in.k.size(2), D = in.q.size(3);
  Tensor logits = AttentionLogits(in), values = PerHead(in.v, in.block);  // [B, H, T, K], [B, H, K, D]
  if (in.config.variants.kv_bias) {
    const auto extra = [&](const Tensor& bias) {
      return PerHead(bias.view({1, in.block.G, 1, D}).expand({B, in.block.G, 1, D}), in.block);  // [B, H, 1, D]
    };
    const Tensor to_bias =
        in.q.matmul(extra(in.attention.key_bias).transpose(2, 3)).mul(in.config.AttentionScale());  // [B, H, T, 1]
    logits = at::cat({logits, to_bias}, 3);
    values = at::cat({values, extra(in.attention.value_bias)}, 2);
  }
  const Tensor weights = WeightsOf(in.config.variants, logits);
  Attended attended{weights.matmul(values), HasSinkLogits(in) ? SinkLogitScore(in, logits) : Tensor()};
  if (tap.Wants(Site::kAttnProbs)) {
    const Tensor of_tokens = weights.narrow(3, 0, K);
    tap.observer->Observe(tap.block, Site::kAttnProbs,
                          attended.score.defined() ? of_tokens * attended.score : of_tokens);
  }
  return attended;
}

bool IsVaried(const AttendInput& in) {
  const Variants& variants = in.config.variants;
  return variants.kv_bias || variants.weights == AttentionWeights::kSoftpick ||
         variants.weights == AttentionWeights::kClipped;
}

Attended AttendWithSinkLogits(const AttendInput& in, const Tap& tap) {
  const Tensor logits = AttentionLogits(in), score = SinkLogitScore(in, logits), probs = logits.softmax(-1);
  if (tap.Wants(Site::kAttnProbs)) tap.observer->Observe(tap.block, Site::kAttnProbs, probs * score);
  return {probs.matmul(PerHead(in.v, in.block)), score};
}

// Queries of the last tokens of k and v.
Attended AttendPlainly(const AttendInput& in) {
  const int64_t T = in.q.size(2), K = in.k.size(2);
  const bool grouped = IsEven(in.block), windowed = in.block.window > 0 && in.block.window < K;
  const bool masked = windowed || (K > T && T > 1);  // one query sees all keys
  const auto mask = masked ? std::optional(Visible(in.block, T, K, in.q.device())) : std::nullopt;
  return {at::scaled_dot_product_attention(
              in.q, grouped ? in.k : PerHead(in.k, in.block), grouped ? in.v : PerHead(in.v, in.block), mask,
              /*dropout_p=*/0.0, /*is_causal=*/!masked && T > 1, in.config.AttentionScale(), /*enable_gqa=*/grouped),
          {}};
}

// The part of a block whose key/value heads are `groups`, and which query heads read them.
struct Part {
  BlockConfig block;
  Attention attention;         // only sink_logits
  Tensor query_heads, groups;  // int64
};
Part PartOf(const AttendInput& in, const std::vector<int64_t>& groups) {
  Part part{in.block, {}, {}, at::tensor(groups, at::kLong).to(in.q.device())};
  std::vector<int64_t> heads, read;
  for (int64_t head = 0; head < in.block.H; ++head) {
    const auto at_group = std::ranges::find(groups, in.block.kv_of_head[static_cast<size_t>(head)]);
    if (at_group == groups.end()) continue;
    heads.push_back(head);
    read.push_back(at_group - groups.begin());
  }
  part.block.H = std::ssize(heads);
  part.block.G = std::ssize(groups);
  part.block.kv_of_head = read;
  part.query_heads = at::tensor(heads, at::kLong).to(in.q.device());
  if (in.attention.sink_logits.defined())
    part.attention.sink_logits = in.attention.sink_logits.index_select(0, part.query_heads);
  return part;
}

// Queries at places tokens .. tokens + T - 1; keys are those that the cache held, with T more at the end.
Attended AttendStreaming(const AttendInput& in, const Tensor& sink_q, const KvCache& cache) {
  const int64_t T = in.q.size(2), K = in.k.size(2), sinks = cache.policy().sinks, last = cache.tokens() + T;
  const auto options = at::TensorOptions(at::kLong).device(in.q.device());
  // Keys are at places 0 .. first - 1 and then without a gap up to the last token.
  const int64_t first = std::min(sinks, K);
  const Tensor key = at::cat({at::arange(first, options), at::arange(last - (K - first), last, options)});  // [K]
  const Tensor query = at::arange(cache.tokens(), last, options).unsqueeze(1);                              // [T, 1]
  const Tensor seen = (key <= query) & ((key < sinks) | (key >= query - cache.policy().recent));            // [T, K]
  const Tensor keys = PerHead(in.k, in.block).transpose(2, 3);  // [B, H, D, K]
  const Tensor logits =
      at::cat({sink_q.matmul(keys.narrow(3, 0, first)), in.q.matmul(keys.narrow(3, first, K - first))}, 3)
          .mul_(in.config.AttentionScale())
          .masked_fill_(seen.logical_not(), -std::numeric_limits<double>::infinity());
  Attended attended{logits.softmax(-1).matmul(PerHead(in.v, in.block)), {}};
  if (HasSinkLogits(in)) attended.score = SinkLogitScore(in, logits);
  return attended;
}

Attended AttendToAll(const AttendInput& in, const Tap& tap) {
  if (IsVaried(in)) return AttendAsVaried(in, tap);
  return HasSinkLogits(in) ? AttendWithSinkLogits(in, tap) : AttendPlainly(in);
}

}  // namespace

Attended Attend(const AttendInput& in, const Tap& tap) {
  if (!HasSinkLogits(in) && !IsVaried(in) && tap.Wants(Site::kAttnProbs))
    tap.observer->Observe(tap.block, Site::kAttnProbs, AttentionLogits(in).softmax(-1));
  return AttendToAll(in, tap);
}

Attended Attend(const AttendInput& in, const Tensor& raw_q, KvCache& cache, int64_t block) {
  KvCache::BlockCache& held = cache.Of(block);
  const Tap none{nullptr, nullptr, block};
  const auto whole = [&](const AttendInput& part) {
    const HeadCache::Held all = held.kept.Append(part.k, part.v);
    const Attended attended =
        AttendToAll({part.config, part.block, part.attention, part.q, all.keys, all.values}, none);
    if (part.block.window > 0) held.kept.Keep(0, part.block.window - 1);
    return attended;
  };
  if (held.streaming.empty()) return whole(in);
  const auto streamed = [&](const AttendInput& part, const Tensor& sink_q) {
    const HeadCache::Held all = held.streamed.Append(part.k, part.v);
    const Attended attended =
        AttendStreaming({part.config, part.block, part.attention, part.q, all.keys, all.values}, sink_q, cache);
    held.streamed.Keep(cache.policy().sinks, cache.policy().recent);
    return attended;
  };
  const Tensor sink_q = cache.sink_rope().Rotate(raw_q);  // [B, H, T, D]
  if (held.whole.empty()) return streamed(in, sink_q);

  Attended joined{at::empty_like(in.q), {}};
  for (const std::vector<int64_t>& groups : {held.streaming, held.whole}) {
    const Part part = PartOf(in, groups);
    const auto heads = [&](const Tensor& x) { return x.index_select(1, part.query_heads); };
    const auto of_groups = [&](const Tensor& x) { return x.index_select(1, part.groups); };
    const AttendInput own{in.config, part.block, part.attention, heads(in.q), of_groups(in.k), of_groups(in.v)};
    const Attended attended = groups == held.streaming ? streamed(own, heads(sink_q)) : whole(own);
    joined.out.index_copy_(1, part.query_heads, attended.out);
    if (!attended.score.defined()) continue;
    if (!joined.score.defined()) joined.score = at::empty_like(in.q.narrow(3, 0, 1));
    joined.score.index_copy_(1, part.query_heads, attended.score);
  }
  return joined;
}

}  // namespace espalier
