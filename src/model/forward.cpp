#include "espalier/model/forward.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <optional>

#include "attend.h"
#include "espalier/core/error.h"
#include "espalier/model/head_layout.h"
#include "espalier/model/kv_cache.h"
#include "output_gate.h"
#include "tap.h"

namespace espalier {
namespace {

using at::Tensor;

// Rows of logits that exist at a time: 256 x 49,152 float32 is 50 MB, and larger chunks are not faster.
constexpr int64_t kLossRows = 256;

// Zhang and Sennrich 2019, arXiv 1910.07467; the mean of squares in float32 whatever the dtype. An undefined weight is
// no norm at all.
Tensor RmsNorm(const ModelConfig& config, const Tensor& x, const Tensor& weight) {
  if (!weight.defined()) return x;
  const Tensor wide = x.to(at::kFloat);
  const Tensor scale = wide.square().mean(-1, /*keepdim=*/true).add_(config.norm_epsilon).rsqrt_();  // [..., 1]
  // Models that add one multiply in float32, the others in their own dtype.
  if (config.norm_adds_one) return (wide * scale * NormGain(config, weight.to(at::kFloat))).to(x.scalar_type());
  return (wide * scale).to(x.scalar_type()) * weight;
}

// A norm over the residual stream: RMSNorm, or DynamicTanh with its weight, bias and alpha in one tensor.
Tensor Norm(const ModelConfig& config, const Tensor& x, const Tensor& weight) {
  if (!weight.defined() || config.variants.norm == NormKind::kRms) return RmsNorm(config, x, weight);
  const int64_t C = config.C;
  return weight.narrow(0, 0, C) * (weight.narrow(0, 2 * C, 1) * x).tanh() + weight.narrow(0, C, C);
}

// What a sublayer adds, held in bounds where the model is a study of that.
Tensor Clipped(const ModelConfig& config, const Tensor& y) {
  const double limit = config.variants.output_clip;
  return limit > 0 ? y.clamp(-limit, limit) : y;
}

// Where compact rows and columns belong among whole heads; none where nothing was cut.
using Places = std::optional<std::vector<int64_t>>;
struct HeadPlaces {
  Places query, key, value, output;
};
HeadPlaces PlacesOf(const BlockConfig& block, int64_t D) {
  HeadPlaces places;
  if (!block.Ragged()) return places;
  const HeadLayout layout(block, D);
  if (!block.qk_dims.empty()) places.query = layout.QueryPlaces(), places.key = layout.KeyPlaces();
  if (!block.value_channels.empty()) places.value = layout.ValuePlaces(), places.output = layout.OutputPlaces();
  return places;
}

// Whether all that happens to attention's output before w_o is a factor between 0 and 1.
bool IsFactor(const Variants& variants) {
  return variants.head_transform == HeadTransform::kNone && variants.gate_apply == GateApply::kMultiply &&
         (variants.gate_function == GateFunction::kSigmoid || variants.gate_function == GateFunction::kNsSigmoid);
}

// Causal grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245).
Tensor AttentionOutput(const Model& model, int64_t l, const Tensor& x, const Rope& ropes, const Tap& tap,
                       KvCache* cache) {
  const ModelConfig& config = model.config;
  const BlockConfig& block = config.blocks[static_cast<size_t>(l)];
  const Attention& attention = model.blocks[static_cast<size_t>(l)].attention;
  const int64_t B = x.size(0), T = x.size(1), D = config.D;
  const RopeTable& rope = ropes.Of(block);
  const Gate gate{config, block, attention, x, ropes.gate_signal};
  const auto heads = [&](const Linear& w, const Tensor& norm, int64_t n, const Places& places, GatePlace place) {
    Tensor y = w.Apply(x);  // [B, T, rows of w]
    if (gate.StandsAt(place)) y = gate.Apply(y, n, tap);
    if (config.qk_norm == QkNorm::kAllHeads) y = RmsNorm(config, y, norm);
    if (places) y = Spread(y, *places, n * D);  // [B, T, n*D]
    y = y.view({B, T, n, D}).transpose(1, 2);   // [B, n, T, D]
    return config.qk_norm == QkNorm::kPerHead ? RmsNorm(config, y, norm) : y;
  };
  const HeadPlaces places = PlacesOf(block, D);
  const Tensor raw_q = heads(attention.w_q, attention.q_norm, block.H, places.query, GatePlace::kG4);
  const Tensor q = tap(Site::kQ, rope.Rotate(raw_q));  // [B, H, T, D]
  const Tensor k =
      tap(Site::kK,
          rope.Rotate(heads(attention.w_k, attention.k_norm, block.G, places.key, GatePlace::kG3)));  // [B, G, T, D]
  const Tensor v = tap(Site::kV, heads(attention.w_v, {}, block.G, places.value, GatePlace::kG2));    // [B, G, T, D]
  const AttendInput input{config, block, attention, q, k, v};
  Attended attended = cache != nullptr ? Attend(input, raw_q, *cache, l) : Attend(input, tap);
  const auto joined = [&](const Tensor& y) {  // [B, T, H, D] -> [B, T, N]
    const Tensor whole = y.reshape({B, T, block.H * D});
    return places.output ? whole.index_select(2, at::tensor(*places.output, at::kLong).to(y.device())) : whole;
  };
  Tensor head_out = tap(Site::kSdpaOut, joined(attended.out.transpose(1, 2)));  // [B, T, N]
  const bool factor = IsFactor(config.variants);
  if (factor && gate.StandsAt(GatePlace::kG1)) {
    const Tensor score = gate.Scores(block.H);  // [B, H, T, D or 1]
    attended.score = attended.score.defined() ? attended.score * score : score;
  }
  if (attended.score.defined()) {
    const Tensor score = tap(Site::kGateScore, attended.score.transpose(1, 2));  // [B, T, H, D or 1]
    head_out = places.output ? head_out * joined(score.expand({B, T, block.H, D}))
                             : (head_out.view({B, T, block.H, D}) * score).view({B, T, block.H * D});
  }
  if (!factor) {
    head_out = TransformHeads(config, head_out, block.H);
    if (gate.StandsAt(GatePlace::kG1)) head_out = gate.Apply(head_out, block.H, tap);
  }
  const Tensor written = attention.w_o.Apply(tap(Site::kHeadOut, head_out));  // [B, T, C]
  return gate.StandsAt(GatePlace::kG5) ? gate.Apply(written, 1, tap) : written;
}

// Gated linear unit: SwiGLU or GeGLU (Shazeer 2020, arXiv 2002.05202), unless a study's variant.
Tensor FeedForwardOutput(const ModelConfig& config, const FeedForward& ffn, const Tensor& x, const Tap& tap) {
  if (config.variants.ffn == FfnKind::kLinear) return ffn.w_down.Apply(tap(Site::kFfnHidden, x));
  if (config.variants.ffn == FfnKind::kPlain)
    return ffn.w_down.Apply(tap(Site::kFfnHidden, Activate(config, ffn.w_up.Apply(x))));
  const Tensor open = Activate(config, ffn.w_gate.Apply(x));                 // [B, T, F]
  return ffn.w_down.Apply(tap(Site::kFfnHidden, open * ffn.w_up.Apply(x)));  // [B, T, C]
}

// h + y with the norm where the placement has it, and both taps.
Tensor AddSublayer(const ModelConfig& config, const Tensor& h, const Tensor& y, const Tensor& post_norm, const Tap& tap,
                   Site out, Site sum) {
  if (config.norm_placement == NormPlacement::kAfterAddition)
    return tap(sum, Norm(config, h + tap(out, Clipped(config, y)), post_norm));
  return tap(sum, h + tap(out, Clipped(config, Norm(config, y, post_norm))));
}

// A removed sublayer may leave a constant behind: the bias of its output projection.
Tensor Constant(const Linear& output, const Tensor& like) {
  return output.bias.defined() ? output.bias.expand_as(like) : at::zeros_like(like);
}

}  // namespace

std::string_view SiteName(Site site) {
  static constexpr std::string_view kNames[] = {"block_input",   "attn_norm", "q",          "k",        "v",
                                                "attn_probs",    "sdpa_out",  "gate_score", "head_out", "attn_out",
                                                "attn_residual", "ffn_norm",  "ffn_hidden", "ffn_out",  "block_output",
                                                "final_norm",    "logits"};
  return kNames[static_cast<size_t>(site)];
}

Tensor NormGain(const ModelConfig& config, const Tensor& weight) {
  if (config.variants.norm == NormKind::kDynamicTanh) return weight.narrow(0, 0, config.C);
  return config.norm_adds_one ? 1 + weight : weight;
}

Tensor Activate(const ModelConfig& config, const Tensor& x) {
  return config.activation == Activation::kSilu ? at::silu(x) : at::gelu(x, "tanh");
}

Tensor Embed(const Model& model, const Tensor& ids) {
  const Tensor h = at::embedding(model.embedding, ids);
  if (model.config.embedding_scale == 1) return h;
  return h * at::scalar_tensor(model.config.embedding_scale, h.options());  // rounded to the dtype first, as Gemma does
}

Tensor AttentionInput(const Model& model, int64_t l, const Tensor& h) {
  return Norm(model.config, h, model.blocks[static_cast<size_t>(l)].attention_norm);
}

Tensor RunAttention(const Model& model, int64_t l, const Tensor& input, const Rope& rope, Observer* observer,
                    KvCache* cache) {
  const Block& block = model.blocks[static_cast<size_t>(l)];
  const Tap tap{observer, model.edit.get(), l};
  const Tensor h = tap(Site::kBlockInput, input);
  const Tensor attn_norm = tap(Site::kAttnNorm, AttentionInput(model, l, h));
  const Tensor attended = model.config.blocks[static_cast<size_t>(l)].HasAttention()
                              ? AttentionOutput(model, l, attn_norm, rope, tap, cache)
                              : Constant(block.attention.w_o, h);
  return AddSublayer(model.config, h, attended, block.attention_post_norm, tap, Site::kAttnOut, Site::kAttnResidual);
}

Tensor RunFeedForward(const Model& model, int64_t l, const Tensor& residual, Observer* observer) {
  const Block& block = model.blocks[static_cast<size_t>(l)];
  const Tap tap{observer, model.edit.get(), l};
  const Tensor ffn_norm = tap(Site::kFfnNorm, Norm(model.config, residual, block.ffn_norm));
  const Tensor fed = model.config.blocks[static_cast<size_t>(l)].HasFeedForward()
                         ? FeedForwardOutput(model.config, block.ffn, ffn_norm, tap)
                         : Constant(block.ffn.w_down, residual);
  return AddSublayer(model.config, residual, fed, block.ffn_post_norm, tap, Site::kFfnOut, Site::kBlockOutput);
}

Tensor RunBlock(const Model& model, int64_t l, const Tensor& input, const Rope& rope, Observer* observer,
                KvCache* cache) {
  return RunFeedForward(model, l, RunAttention(model, l, input, rope, observer, cache), observer);
}

Tensor FinalNorm(const Model& model, const Tensor& h) {
  return Norm(model.config, h, model.final_norm);
}

Tensor HiddenStates(const Model& model, const Tensor& ids, Observer* observer) {
  Tensor h = Embed(model, ids);  // [B, T, C]
  const Rope rope = RopeWith(MakeRope(model.config, ids.size(1), model.device(), model.dtype()), model.config, h);
  for (int64_t l = 0; l < model.config.L(); ++l) h = RunBlock(model, l, h, rope, observer);
  return Tap{observer, model.edit.get(), model.config.L()}(Site::kFinalNorm, FinalNorm(model, h));
}

Tensor Logits(const Model& model, const Tensor& ids, Observer* observer) {
  const Tensor logits = at::linear(HiddenStates(model, ids, observer), model.Head());  // [B, T, V]
  return Tap{observer, model.edit.get(), model.config.L()}(Site::kLogits, logits);
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
