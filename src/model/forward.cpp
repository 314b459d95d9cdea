#include "espalier/model/forward.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "espalier/core/error.h"

namespace espalier {
namespace {

using at::Tensor;

// Rows of logits that exist at a time: 256 x 49,152 float32 is 50 MB, and larger chunks are not faster.
constexpr int64_t kLossRows = 256;

// Hands `value` to the observer when it asks for it.
struct Tap {
  Observer* observer;
  int64_t block;
  bool Wants(Site site) const { return observer != nullptr && observer->Wants(block, site); }
  void operator()(Site site, const Tensor& value) const {
    if (Wants(site)) observer->Observe(block, site, value);
  }
};

// Zhang and Sennrich 2019, arXiv 1910.07467; the mean of squares in float32 whatever the dtype.
Tensor RmsNorm(const Tensor& x, const Tensor& weight, double epsilon) {
  const Tensor wide = x.to(at::kFloat);
  const Tensor scale = wide.square().mean(-1, /*keepdim=*/true).add_(epsilon).rsqrt_();  // [B, T, 1]
  return (wide * scale).to(x.scalar_type()) * weight;
}

bool IsEven(const BlockConfig& block) {
  return block.H % block.G == 0 && block.kv_of_head == EvenKvOfHead(block.H, block.G);
}

Tensor PerHead(const Tensor& kv, const BlockConfig& block) {
  return kv.index_select(1, at::tensor(block.kv_of_head, at::kLong).to(kv.device()));  // [B, H, T, D]
}

// softmax(q k^T / sqrt(D)) with the causal mask, formed in full because somebody looks at it.
Tensor Probabilities(const Tensor& q, const Tensor& k) {
  const int64_t T = q.size(2);
  const Tensor scores =
      q.matmul(k.transpose(2, 3)).mul_(1 / std::sqrt(static_cast<double>(q.size(3))));  // [B, H, T, T]
  const Tensor future = at::ones({T, T}, q.options().dtype(at::kBool)).triu_(1);
  return scores.masked_fill(future, -std::numeric_limits<double>::infinity()).softmax(-1);
}

// Causal grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245).
Tensor AttentionOutput(const Model& model, int64_t l, const Tensor& x, const Rope& rope, const Tap& tap) {
  const BlockConfig& block = model.config.blocks[static_cast<size_t>(l)];
  const Attention& attention = model.blocks[static_cast<size_t>(l)].attention;
  const int64_t B = x.size(0), T = x.size(1), D = model.config.D;
  const auto heads = [&](const Linear& w, int64_t n) { return w.Apply(x).view({B, T, n, D}).transpose(1, 2); };
  const Tensor q = rope.Rotate(heads(attention.w_q, block.H));  // [B, H, T, D]
  const Tensor k = rope.Rotate(heads(attention.w_k, block.G));  // [B, G, T, D]
  const Tensor v = heads(attention.w_v, block.G);               // [B, G, T, D]
  tap(Site::kQ, q);
  tap(Site::kK, k);
  tap(Site::kV, v);
  if (tap.Wants(Site::kAttnProbs)) tap(Site::kAttnProbs, Probabilities(q, PerHead(k, block)));
  const bool grouped = IsEven(block);
  const Tensor y = at::scaled_dot_product_attention(q, grouped ? k : PerHead(k, block), grouped ? v : PerHead(v, block),
                                                    /*attn_mask=*/{}, /*dropout_p=*/0.0, /*is_causal=*/true,
                                                    /*scale=*/std::nullopt, /*enable_gqa=*/grouped);
  const Tensor head_out = y.transpose(1, 2).reshape({B, T, block.H * D});  // [B, T, H*D]
  tap(Site::kHeadOut, head_out);
  return attention.w_o.Apply(head_out);  // [B, T, C]
}

// SwiGLU (Shazeer 2020, arXiv 2002.05202).
Tensor FeedForwardOutput(const FeedForward& ffn, const Tensor& x, const Tap& tap) {
  const Tensor hidden = at::silu(ffn.w_gate.Apply(x)) * ffn.w_up.Apply(x);  // [B, T, F]
  tap(Site::kFfnHidden, hidden);
  return ffn.w_down.Apply(hidden);  // [B, T, C]
}

// A removed sublayer may leave a constant behind: the bias of its output projection.
Tensor Constant(const Linear& output, const Tensor& like) {
  return output.bias.defined() ? output.bias.expand_as(like) : at::zeros_like(like);
}

}  // namespace

std::string_view SiteName(Site site) {
  static constexpr std::string_view kNames[] = {
      "block_input", "attn_norm",     "q",        "k",          "v",       "attn_probs",   "head_out",
      "attn_out",    "attn_residual", "ffn_norm", "ffn_hidden", "ffn_out", "block_output", "final_norm",
      "logits"};
  return kNames[static_cast<size_t>(site)];
}

Tensor Embed(const Model& model, const Tensor& ids) {
  return at::embedding(model.embedding, ids);
}

Tensor RunBlock(const Model& model, int64_t l, const Tensor& h, const Rope& rope, Observer* observer) {
  const Block& block = model.blocks[static_cast<size_t>(l)];
  const BlockConfig& config = model.config.blocks[static_cast<size_t>(l)];
  const Tap tap{observer, l};
  tap(Site::kBlockInput, h);

  const Tensor attn_norm = RmsNorm(h, block.attention_norm, model.config.norm_epsilon);
  tap(Site::kAttnNorm, attn_norm);
  const Tensor attn_out =
      config.HasAttention() ? AttentionOutput(model, l, attn_norm, rope, tap) : Constant(block.attention.w_o, h);
  tap(Site::kAttnOut, attn_out);
  const Tensor residual = h + attn_out;
  tap(Site::kAttnResidual, residual);

  const Tensor ffn_norm = RmsNorm(residual, block.ffn_norm, model.config.norm_epsilon);
  tap(Site::kFfnNorm, ffn_norm);
  const Tensor ffn_out =
      config.HasFeedForward() ? FeedForwardOutput(block.ffn, ffn_norm, tap) : Constant(block.ffn.w_down, h);
  tap(Site::kFfnOut, ffn_out);
  const Tensor output = residual + ffn_out;
  tap(Site::kBlockOutput, output);
  return output;
}

Tensor FinalNorm(const Model& model, const Tensor& h) {
  return RmsNorm(h, model.final_norm, model.config.norm_epsilon);
}

Tensor HiddenStates(const Model& model, const Tensor& ids, Observer* observer) {
  const Rope rope = MakeRope(model.config, ids.size(1), model.device(), model.dtype());
  Tensor h = Embed(model, ids);  // [B, T, C]
  for (int64_t l = 0; l < model.config.L(); ++l) h = RunBlock(model, l, h, rope, observer);
  const Tensor normed = FinalNorm(model, h);
  Tap{observer, model.config.L()}(Site::kFinalNorm, normed);
  return normed;
}

Tensor Logits(const Model& model, const Tensor& ids, Observer* observer) {
  const Tensor logits = at::linear(HiddenStates(model, ids, observer), model.Head());  // [B, T, V]
  Tap{observer, model.config.L()}(Site::kLogits, logits);
  return logits;
}

Tensor TokenNll(const Model& model, const Tensor& hidden, const Tensor& targets) {
  ESPALIER_CHECK(hidden.dim() == 2 && targets.dim() == 1 && hidden.size(0) == targets.size(0),
                 "hidden [N, C] and targets [N]");
  std::vector<Tensor> parts;
  for (int64_t row = 0; row < hidden.size(0); row += kLossRows) {
    const int64_t rows = std::min(kLossRows, hidden.size(0) - row);
    const Tensor logits = at::linear(hidden.narrow(0, row, rows), model.Head()).to(at::kFloat);  // [rows, V]
    parts.push_back(at::cross_entropy_loss(logits, targets.narrow(0, row, rows), {}, at::Reduction::None));
  }
  return at::cat(parts);  // [N] float32
}

}  // namespace espalier
