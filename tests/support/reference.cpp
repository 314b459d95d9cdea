#include "reference.h"

#include <torch/torch.h>

#include <cmath>

namespace espalier {
namespace {

using at::Tensor;

class Reference {
 public:
  Reference(const Model& model, const Tensor& ids)
      : model_(model), c_(model.config), v_(model.config.variants), T_(ids.size(0)) {
    embedded_ = torch::stack(Rows([&](int64_t t) { return model.embedding[ids[t].item<int64_t>()]; }));
  }

  Tensor Run() {
    Tensor h = embedded_;
    for (size_t l = 0; l < model_.blocks.size(); ++l) {
      const Block& block = model_.blocks[l];
      const BlockConfig& sizes = c_.blocks[l];
      h = Residual(h, block.attention_norm, block.attention_post_norm,
                   [&](const Tensor& x) { return AttentionOf(x, block.attention, sizes); });
      if (sizes.F > 0)
        h = Residual(h, block.ffn_norm, block.ffn_post_norm,
                     [&](const Tensor& x) { return FeedForwardOf(x, block.ffn); });
    }
    return Norm(h, model_.final_norm).mm(model_.Head().t());
  }

 private:
  template <class F>
  std::vector<Tensor> Rows(const F& f) const {
    std::vector<Tensor> rows;
    for (int64_t t = 0; t < T_; ++t) rows.push_back(f(t));
    return rows;
  }

  static Tensor Rms(const Tensor& x, double epsilon) {
    return x / torch::sqrt(torch::mean(x * x) + epsilon);  // of one vector
  }

  Tensor Norm(const Tensor& h, const Tensor& weight) const {
    if (!weight.defined()) return h;
    return torch::stack(Rows([&](int64_t t) {
      if (v_.norm == NormKind::kRms) return Rms(h[t], c_.norm_epsilon) * weight;
      const Tensor alpha = weight[2 * c_.C];
      return weight.slice(0, 0, c_.C) * torch::tanh(alpha * h[t]) + weight.slice(0, c_.C, 2 * c_.C);
    }));
  }

  template <class F>
  Tensor Residual(const Tensor& h, const Tensor& before, const Tensor& after, const F& sublayer) const {
    Tensor y = sublayer(Norm(h, before));
    const auto clip = [&](const Tensor& z) {
      return v_.output_clip > 0
                 ? torch::minimum(torch::maximum(z, torch::tensor(-v_.output_clip)), torch::tensor(v_.output_clip))
                 : z;
    };
    if (c_.norm_placement == NormPlacement::kAfterAddition) return Norm(h + clip(y), after);
    return h + clip(Norm(y, after));
  }

  Tensor FeedForwardOf(const Tensor& x, const FeedForward& ffn) const {
    const auto act = [&](const Tensor& z) {
      if (c_.activation == Activation::kSilu) return z / (1 + torch::exp(-z));
      return 0.5 * z * (1 + torch::tanh(std::sqrt(2 / M_PI) * (z + 0.044715 * z * z * z)));
    };
    const auto by = [&](const Linear& w, const Tensor& in) { return in.mm(w.weight.t()); };
    if (v_.ffn == FfnKind::kLinear) return by(ffn.w_down, x);
    if (v_.ffn == FfnKind::kPlain) return by(ffn.w_down, act(by(ffn.w_up, x)));
    return by(ffn.w_down, act(by(ffn.w_gate, x)) * by(ffn.w_up, x));
  }

  // The gate's logits of token t: [scores].
  Tensor GateLogits(const Tensor& x, const Attention& attention, int64_t t) const {
    if (v_.gate_signal == GateSignal::kNone) return attention.gate_logits;
    Tensor read = v_.gate_signal == GateSignal::kState ? x[t] : embedded_[t];
    if (v_.gate_signal == GateSignal::kPosition) {
      std::vector<float> wave;
      for (const bool sine : {true, false})
        for (int64_t i = 0; i < c_.C / 2; ++i) {
          const double angle =
              static_cast<double>(t) / std::pow(10000.0, 2.0 * static_cast<double>(i) / static_cast<double>(c_.C));
          wave.push_back(static_cast<float>(sine ? std::sin(angle) : std::cos(angle)));
        }
      read = torch::tensor(wave);
    }
    return torch::mv(attention.w_output_gate.weight, read);
  }

  // y [n * width] of token t, gated.
  Tensor Gated(const Tensor& y, const Tensor& x, const Attention& attention, const BlockConfig& block, GatePlace place,
               int64_t t, int64_t n) const {
    if (block.gate == GateKind::kNone || v_.gate_place != place) return y;
    const Tensor logits = GateLogits(x, attention, t);
    const auto f = [&](const Tensor& s) {
      const Tensor sigmoid = 1 / (1 + torch::exp(-s));
      if (v_.gate_function == GateFunction::kSilu) return s * sigmoid;
      if (v_.gate_function == GateFunction::kNsSigmoid) return 0.5 + 0.5 * sigmoid;
      return v_.gate_function == GateFunction::kSigmoid ? sigmoid : s;
    };
    const int64_t width = y.size(0) / n;
    std::vector<Tensor> scores;  // of each head, [width] or [1]
    for (int64_t head = 0; head < n; ++head) {
      if (block.gate == GateKind::kElementwise) scores.push_back(f(logits.slice(0, head * width, (head + 1) * width)));
      if (block.gate == GateKind::kHeadwise) scores.push_back(f(logits.slice(0, head, head + 1)));
      if (block.gate == GateKind::kSingle) scores.push_back(f(logits));
    }
    if (v_.gate_shared) {
      Tensor sum = torch::zeros_like(scores[0]);
      for (const Tensor& score : scores) sum = sum + score;
      for (Tensor& score : scores) score = sum / static_cast<double>(n);
    }
    std::vector<Tensor> out;
    for (int64_t head = 0; head < n; ++head) {
      const Tensor part = y.slice(0, head * width, (head + 1) * width), score = scores[static_cast<size_t>(head)];
      out.push_back(v_.gate_apply == GateApply::kMultiply ? part * score : part + score);
    }
    return torch::cat(out);
  }

  // RoPE of one head's vector [D] at position t: pairs (i, i + D/2).
  Tensor Rotated(const Tensor& x, int64_t t) const {
    std::vector<Tensor> out(static_cast<size_t>(c_.D));
    for (int64_t i = 0; i < c_.D / 2; ++i) {
      const double angle =
          static_cast<double>(t) * std::pow(c_.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(c_.D));
      const Tensor a = x[i], b = x[i + c_.D / 2];
      out[static_cast<size_t>(i)] = a * std::cos(angle) - b * std::sin(angle);
      out[static_cast<size_t>(i + c_.D / 2)] = b * std::cos(angle) + a * std::sin(angle);
    }
    return torch::stack(out);
  }

  // Vectors of every head of one token, projected, gated, normed.
  std::vector<Tensor> Heads(const Tensor& x, const Linear& w, const Tensor& norm, const Attention& attention,
                            const BlockConfig& block, GatePlace place, int64_t t, int64_t n) const {
    Tensor y = Gated(torch::mv(w.weight, x[t]), x, attention, block, place, t, n);
    if (norm.defined() && c_.qk_norm == QkNorm::kAllHeads) y = Rms(y, c_.norm_epsilon) * norm;
    std::vector<Tensor> heads;
    for (int64_t head = 0; head < n; ++head) {
      const Tensor part = y.slice(0, head * c_.D, (head + 1) * c_.D);
      heads.push_back(norm.defined() && c_.qk_norm == QkNorm::kPerHead ? Rms(part, c_.norm_epsilon) * norm : part);
    }
    return heads;
  }

  // Weights of logits [n]; the last may be of a sink logit that has no value, which is dropped.
  Tensor Weights(const Tensor& logits, const Tensor& sink) const {
    const int64_t n = logits.size(0);
    if (v_.weights == AttentionWeights::kSoftpick) {
      const Tensor e = torch::exp(logits) - 1;
      return torch::where(e > 0, e, torch::zeros_like(e)) / (torch::sum(torch::abs(e)) + 1e-8);
    }
    const Tensor e = torch::exp(logits);
    Tensor sum = torch::sum(e);
    if (v_.weights == AttentionWeights::kSoftmax1) sum = sum + 1;
    if (sink.defined()) sum = sum + torch::exp(sink);
    const Tensor softmax = e / sum;
    if (v_.weights != AttentionWeights::kClipped) return softmax;
    const Tensor stretched = (v_.clip_high - v_.clip_low) * softmax + v_.clip_low;
    return torch::minimum(torch::maximum(stretched, torch::zeros({n})), torch::ones({n}));
  }

  Tensor AttentionOf(const Tensor& x, const Attention& attention, const BlockConfig& block) const {
    std::vector<std::vector<Tensor>> q, k, v;  // [T][heads][D]
    for (int64_t t = 0; t < T_; ++t) {
      q.push_back(Heads(x, attention.w_q, attention.q_norm, attention, block, GatePlace::kG4, t, block.H));
      k.push_back(Heads(x, attention.w_k, attention.k_norm, attention, block, GatePlace::kG3, t, block.G));
      v.push_back(Heads(x, attention.w_v, {}, attention, block, GatePlace::kG2, t, block.G));
      for (Tensor& one : q.back()) one = Rotated(one, t);
      for (Tensor& one : k.back()) one = Rotated(one, t);
    }
    return torch::stack(Rows([&](int64_t t) {
      std::vector<Tensor> out;
      for (int64_t head = 0; head < block.H; ++head) out.push_back(HeadOf(q, k, v, attention, block, t, head));
      const Tensor gated = Gated(torch::cat(out), x, attention, block, GatePlace::kG1, t, block.H);
      return Gated(torch::mv(attention.w_o.weight, gated), x, attention, block, GatePlace::kG5, t, 1);
    }));
  }

  using PerToken = std::vector<std::vector<Tensor>>;
  Tensor HeadOf(const PerToken& q, const PerToken& k, const PerToken& v, const Attention& attention,
                const BlockConfig& block, int64_t t, int64_t head) const {
    const size_t h = static_cast<size_t>(head), group = static_cast<size_t>(head / (block.H / block.G));
    const auto bias = [&](const Tensor& all) {
      return all.slice(0, static_cast<int64_t>(group) * c_.D, (static_cast<int64_t>(group) + 1) * c_.D);
    };
    std::vector<Tensor> logits, values;
    for (size_t s = 0; s <= static_cast<size_t>(t); ++s) {
      logits.push_back(torch::dot(q[static_cast<size_t>(t)][h], k[s][group]) / std::sqrt(static_cast<double>(c_.D)));
      values.push_back(v[s][group]);
    }
    if (v_.kv_bias) {
      logits.push_back(torch::dot(q[static_cast<size_t>(t)][h], bias(attention.key_bias)) /
                       std::sqrt(static_cast<double>(c_.D)));
      values.push_back(bias(attention.value_bias));
    }
    const Tensor sink = attention.sink_logits.defined() ? attention.sink_logits[head] : Tensor();
    const Tensor weights = Weights(torch::stack(logits), sink);
    Tensor out = torch::zeros({c_.D});
    for (size_t s = 0; s < values.size(); ++s) out = out + weights[static_cast<int64_t>(s)] * values[s];
    if (v_.head_transform == HeadTransform::kSilu) return out / (1 + torch::exp(-out));
    return v_.head_transform == HeadTransform::kRmsNorm ? Rms(out, c_.norm_epsilon) : out;
  }

  const Model& model_;
  const ModelConfig& c_;
  const Variants& v_;
  int64_t T_;
  Tensor embedded_;
};

}  // namespace

Tensor ReferenceLogits(const Model& model, const Tensor& ids) {
  return Reference(model, ids).Run();
}

}  // namespace espalier
