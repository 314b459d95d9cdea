// Sink metrics. Gu et al., ICLR 2025 (arXiv 2410.10781): alpha_k = mean over the queries t >= k of A[t, k];
// Sink_k^eps = share of (sequence, block, head) with alpha_k > eps, at T = 64. F-Attn: mean of A[t, 1] (arXiv
// 2505.06708, Table 4). Logit gap: arXiv 2603.05498, section 3.2. Value-norm ratio and head classes: arXiv 2606.08105.
#include "sinks.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "accumulate.h"
#include "espalier/model/head_layout.h"

namespace espalier {
namespace {

using at::Tensor;

double Entry(const Tensor& sums, int64_t i) {
  return sums[i].item<double>();
}

}  // namespace

SinkMeter::SinkMeter(const Model& model, int64_t block, const AnalyzeOptions& options)
    : model_(model), block_(block), options_(options), sizes_(model.config.blocks[static_cast<size_t>(block)]) {}

void SinkMeter::Add(const BlockTaps& taps) {
  const Tensor& probs = taps.At(Site::kAttnProbs);
  if (!probs.defined()) return;
  CheckFinite(taps.At(Site::kHeadOut), block_, Site::kHeadOut);
  AddAttention(probs);
  AddLogits(taps.At(Site::kQ), taps.At(Site::kK));
  AddValues(taps.At(Site::kV));
  AddOutput(taps.At(Site::kHeadOut));
  sequences_ += probs.size(0);
}

int64_t SinkMeter::Seeing(int64_t position, int64_t T) const {
  return sizes_.window > 0 ? std::min(T - position, sizes_.window) : T - position;
}

void SinkMeter::AddAttention(const Tensor& probs) {
  const int64_t K = options_.sink_length, seeing = Seeing(0, probs.size(2));
  Accumulate(mass_, probs.select(3, 0).narrow(2, 0, seeing).to(at::kDouble).mean(2).sum(0));
  Tensor queries = at::empty({K}, at::kDouble);
  for (int64_t k = 0; k < K; ++k) queries[k] = Seeing(k, K);
  queries = queries.to(probs.device());
  // Causal attention: the first rows are what a text of that length alone would give. One sequence at a time, because
  // a sum in float64 copies what it sums.
  for (const Tensor& map : probs.unbind(0)) {
    const Tensor alpha =
        map.narrow(1, 0, K).narrow(2, 0, K).sum(1, /*keepdim=*/false, at::kDouble) / queries;  // [H, K]
    Accumulate(alpha_, alpha);
    Accumulate(sinks_, (alpha > options_.sink_epsilon).to(at::kDouble));
  }
}

// The scaled logit of position 0 minus the mean of those of keys 1 .. t, for the queries that see position 0 and one
// more: they see all between, so that running sums of keys give the mean, and no [T, T] is formed.
void SinkMeter::AddLogits(const Tensor& q, const Tensor& k) {
  const int64_t queries = Seeing(0, q.size(2)) - 1;
  if (queries < 1) return;
  const Tensor keys = k.narrow(2, 0, queries + 1).to(at::kDouble);  // [B, G, t, D]
  const Tensor count = at::arange(1, queries + 1, keys.options()).view({queries, 1});
  const Tensor direction = keys.narrow(2, 0, 1) - keys.narrow(2, 1, queries).cumsum(2) / count;  // [B, G, t, D]
  const Tensor group = at::tensor(sizes_.kv_of_head, at::kLong).to(q.device());
  const Tensor gap = (q.narrow(2, 1, queries).to(at::kDouble) * direction.index_select(1, group)).sum(-1) *
                     model_.config.AttentionScale();  // [B, H, t]
  Accumulate(gap_, gap.sum({0, 2}));
  Accumulate(gap_square_, gap.square().sum({0, 2}));
  gaps_ += q.size(0) * queries;
}

void SinkMeter::AddValues(const Tensor& v) {
  const Tensor norm = v.to(at::kDouble).norm(2, -1);  // [B, G, T]
  Accumulate(first_value_, norm.select(2, 0).sum(0));
  Accumulate(other_value_, norm.narrow(2, 1, norm.size(2) - 1).sum({0, 2}));
}

// |W y|^2 = y^T (W^T W) y costs D^2 a token in place of C D.
void SinkMeter::AddOutput(const Tensor& head_out) {
  const int64_t H = sizes_.H, D = model_.config.D, later = head_out.size(1) - 1;
  if (!gram_.defined()) {
    const Tensor& w_o = model_.blocks[static_cast<size_t>(block_)].attention.w_o.weight;  // [C, N]
    const Tensor whole = WholeHeads(sizes_, D, w_o.to(at::kDouble));                      // [C, H*D]
    const Tensor slices = whole.view({-1, H, D}).transpose(0, 1);                         // [H, C, D]
    gram_ = slices.transpose(1, 2).matmul(slices);
  }
  const Tensor whole = WholeHeads(sizes_, D, head_out.narrow(1, 1, later).to(at::kDouble));
  const Tensor y = whole.reshape({-1, H, D}).transpose(0, 1);  // [H, tokens, D]
  Accumulate(output_, y.norm(2, -1).sum(1));
  Accumulate(written_, (y.matmul(gram_) * y).sum(-1).clamp_min(0).sqrt().sum(1));
  others_ += head_out.size(0) * later;
}

std::vector<HeadPhenomena> SinkMeter::Heads() const {
  const auto mean = [](const Tensor& sums, int64_t i, int64_t n) {
    return n > 0 ? Entry(sums, i) / static_cast<double>(n) : 0;
  };
  std::vector<HeadPhenomena> heads;
  for (int64_t h = 0; h < sizes_.H; ++h) {
    HeadPhenomena head;
    head.first_token_mass = mean(mass_, h, sequences_);
    head.alpha = mean(alpha_.select(1, 0), h, sequences_);
    head.logit_gap = mean(gap_, h, gaps_);
    head.logit_gap_deviation = std::sqrt(std::max(0.0, mean(gap_square_, h, gaps_) - head.logit_gap * head.logit_gap));
    const int64_t group = sizes_.kv_of_head[static_cast<size_t>(h)];
    const double others = mean(other_value_, group, others_);
    head.value_norm_ratio = others > 0 ? mean(first_value_, group, sequences_) / others : 0;
    head.output_norm = mean(output_, h, others_);
    head.written_norm = mean(written_, h, others_);
    if (2 * mean(sinks_.select(1, 0), h, sequences_) > 1)
      head.head_class = head.value_norm_ratio < options_.no_op_ratio ? HeadClass::kNoOp : HeadClass::kBroadcast;
    heads.push_back(head);
  }
  return heads;
}

void SinkMeter::Finish(BlockPhenomena& block, Phenomena& phenomena) const {
  block.window = sizes_.window;
  if (sequences_ == 0) return;
  const double n = static_cast<double>(sequences_);
  block.heads = Heads();
  block.first_token_mass = mass_.mean().item<double>() / n;
  block.sink_share = sinks_.select(1, 0).mean().item<double>() / n;
  phenomena.sink_rate_by_position.resize(static_cast<size_t>(options_.sink_length));
  for (int64_t k = 0; k < options_.sink_length; ++k)
    phenomena.sink_rate_by_position[static_cast<size_t>(k)] += sinks_.select(1, k).sum().item<double>() / n;
}

}  // namespace espalier
