#pragma once
// What the ablations of arXiv 2603.05498 (P1), arXiv 2505.06708 (P2) and their relatives vary in a decoder, beyond what
// the published families need. A model with default variants is an ordinary one; only such a model is pruned.
#include <string>
#include <vector>

namespace espalier {

// RMSNorm, or DynamicTanh: weight * tanh(alpha x) + bias, alpha a learned scalar (Zhu et al. 2025, arXiv 2503.10622).
// QK-norm is RMSNorm in both.
enum class NormKind { kRms, kDynamicTanh };
// w_down(act(w_gate x) * w_up x), w_down(act(w_up x)), or the single linear layer w_down x with F = C (P1 Table 4).
enum class FfnKind { kGated, kPlain, kLinear };

// Where the gate stands (P2, Figure 1). G1: on attention's output before w_o. G2, G3, G4: on values, keys, queries as
// they are projected, before their norm and rotation. G5: on what w_o wrote.
enum class GatePlace { kG1, kG2, kG3, kG4, kG5 };
enum class GateApply { kMultiply, kAdd };
// Of the gate's logits s. NS-sigmoid: 0.5 + 0.5 sigmoid(s), which cannot close (P2 Table 4).
enum class GateFunction { kSigmoid, kSilu, kIdentity, kNsSigmoid };
// What the logits depend on (P1 Table 7): the normed state that the queries read; nothing (a learned vector); the
// position, as a sinusoid of width C (Vaswani et al. 2017, arXiv 1706.03762; the sinusoid is our reading); the
// embedding of the token.
enum class GateSignal { kState, kNone, kPosition, kToken };
// Without parameters, per head, on attention's output before any gate (P2 Table 3): RMSNorm, SiLU.
enum class HeadTransform { kNone, kRmsNorm, kSilu };
// How logits become weights: softmax; softmax with 1 added to the denominator ("off by one", a sink logit of 0);
// softpick (arXiv 2504.20966); clipped softmax (Bondarenko et al. 2023, arXiv 2306.12929).
enum class AttentionWeights { kSoftmax, kSoftmax1, kSoftpick, kClipped };

struct Variants {
  NormKind norm = NormKind::kRms;
  FfnKind ffn = FfnKind::kGated;
  GatePlace gate_place = GatePlace::kG1;
  bool gate_shared = false;  // the mean score of all heads, after the function (P2 Table 1, rows 12 and 13)
  GateApply gate_apply = GateApply::kMultiply;
  GateFunction gate_function = GateFunction::kSigmoid;
  GateSignal gate_signal = GateSignal::kState;
  HeadTransform head_transform = HeadTransform::kNone;
  AttentionWeights weights = AttentionWeights::kSoftmax;
  double clip_low = -0.03, clip_high = 1;  // of clipped softmax: gamma and zeta
  bool kv_bias = false;    // one learned key and value a key/value head, seen by all (arXiv 2402.17762, section 5.3)
  double output_clip = 0;  // what a sublayer adds is held within +- this; 0: not (P2 A.6)
  bool operator==(const Variants&) const = default;
};

// The names that recipes and config.json use, in the order of the enumeration.
template <class E>
const std::vector<std::string>& NamesOf();
template <class E>
const std::string& NameOf(E value) {
  return NamesOf<E>()[static_cast<size_t>(value)];
}
// IoError "<where>: found 'x', expected one of ..." for any other name.
template <class E>
E Named(const std::string& name, const std::string& where);

}  // namespace espalier
