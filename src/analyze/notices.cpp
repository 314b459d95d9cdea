#include "espalier/analyze/notices.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace espalier {
namespace {

using Notice = std::optional<std::string>;

constexpr int64_t kFewTokens = 2048, kFewSequences = 4;  // ours
constexpr double kSunRatio = 1000;                       // Sun et al. 2024, arXiv 2402.17762

Notice OfLength(const Phenomena& phenomena) {
  const int64_t tokens = phenomena.sequences * phenomena.sequence_length;
  if (tokens >= kFewTokens && phenomena.sequences >= kFewSequences) return std::nullopt;
  return fmt::format(
      "Few tokens: {} in sequences of {}. Below {} tokens or {} sequences read every share as one sample; no intervals "
      "are given.",
      tokens, phenomena.sequence_length, kFewTokens, kFewSequences);
}

double LargestRatio(const Phenomena& phenomena) {
  double largest = 0;
  for (const BlockPhenomena& block : phenomena.blocks)
    largest = std::max({largest, block.attention.Ratio(), block.ffn.Ratio()});
  return largest;
}

Notice OfSpikeRule(const Phenomena& phenomena) {
  const double largest = LargestRatio(phenomena);
  const std::string rule = fmt::format(
      "the rule of {:g} medians (arXiv 2402.17762) fails for small and for gated models (Pythia-14M spikes at a ratio "
      "of "
      "83, arXiv 2508.03616)",
      kSunRatio);
  if (phenomena.spike_channels.empty())
    return fmt::format(
        "No channel spikes; the largest ratio is {:.0f}. That proves no absence: every fixed ratio is a convention, "
        "and "
        "{}. Compare max |h|, max over median and kurtosis.",
        largest, rule);
  if (largest >= kSunRatio) return std::nullopt;
  return fmt::format("Spikes by our limit of {:g} medians, and yet the largest ratio is {:.0f}: {}.",
                     phenomena.spike_ratio, largest, rule);
}

Notice OfSinkHeads(const Phenomena& phenomena) {
  int64_t heads = 0, no_ops = 0, broadcasts = 0;
  for (const BlockPhenomena& block : phenomena.blocks)
    for (const HeadPhenomena& head : block.heads) {
      ++heads;
      no_ops += head.head_class == HeadClass::kNoOp;
      broadcasts += head.head_class == HeadClass::kBroadcast;
    }
  if (no_ops + broadcasts == 0) return std::nullopt;
  return fmt::format(
      "{} of {} heads are sinks ({} no-op, {} broadcast; broadcast means no more than not a no-op, where arXiv "
      "2606.08105 finds value-norm ratios near 1). Neither protect nor prune a head for its sink mass alone: on "
      "SmolLM2-135M the rank correlation of sink mass with the cost of removing a KV group is -0.04 (our measurement).",
      no_ops + broadcasts, heads, no_ops, broadcasts);
}

template <class Holds>
int64_t CountBlocks(const Phenomena& phenomena, Holds holds) {
  return std::count_if(phenomena.blocks.begin(), phenomena.blocks.end(), holds);
}

Notice OfGates(const Phenomena& phenomena) {
  if (!phenomena.HasGates()) return std::nullopt;
  const int64_t gated = CountBlocks(
      phenomena, [](const BlockPhenomena& block) { return block.gate && block.gate->form != GateForm::kSinkLogit; });
  return fmt::format(
      "Attention is gated in {} of {} blocks: a head closes its gate in place of attending to the first token, so sink "
      "scores (attention mass) are void as a pruning signal (our inference). Use the gate score or the output norm.",
      gated, phenomena.blocks.size());
}

Notice OfRetrofits(const Phenomena& phenomena) {
  if (!phenomena.HasGates()) return std::nullopt;
  return "Gates act when they are trained from the start: adding one in continued training removes neither sinks nor "
         "spikes (arXiv 2505.06708, A.7), so a gate retrofit is no cure for another model.";
}

Notice OfSinkLogits(const Phenomena& phenomena) {
  if (!phenomena.HasSinkLogits()) return std::nullopt;
  const int64_t with = CountBlocks(
      phenomena, [](const BlockPhenomena& block) { return block.gate && block.gate->form == GateForm::kSinkLogit; });
  return fmt::format(
      "Sink logits in {} of {} blocks: attention may go to a logit without value, and weights sum to less than 1. A "
      "low "
      "sink rate does not mean that heads are busy, and sink scores are void as a pruning signal (our inference). Use "
      "the effective gate, sigmoid(logsumexp - sink logit), or the output norm.",
      with, phenomena.blocks.size());
}

Notice OfQkNorm(const ModelConfig& config) {
  if (config.qk_norm == QkNorm::kNone) return std::nullopt;
  constexpr Sublayer kQwen3{6, false};  // arXiv 2603.05498, Table 1
  return fmt::format(
      "QK-norm alone does not prevent spikes: Qwen3-8B has it and steps up at block {} of arXiv 2603.05498, Table 1 "
      "(FFN of layer {} counted from 0).",
      kQwen3.PaperNumber(), kQwen3.block);
}

Notice OfActivation(const ModelConfig& config) {
  if (config.activation == Activation::kSilu) return std::nullopt;
  return "The FFN uses GeLU: its quadratic form (arXiv 2603.05498, eq. 15-19) is derived for SwiGLU and an "
         "approximation "
         "here.";
}

Notice OfWindows(const Phenomena& phenomena) {
  int64_t count = 0, narrowest = phenomena.sequence_length, widest = 0;
  for (const BlockPhenomena& block : phenomena.blocks) {
    if (block.window == 0 || block.window >= phenomena.sequence_length) continue;
    ++count;
    narrowest = std::min(narrowest, block.window);
    widest = std::max(widest, block.window);
  }
  if (count == 0) return std::nullopt;
  const std::string width =
      narrowest == widest ? fmt::format("{}", widest) : fmt::format("{} to {}", narrowest, widest);
  return fmt::format(
      "{} of {} blocks see a window of {} tokens: there F-Attn, alpha and the logit gap count only the queries that "
      "see "
      "the token, so epsilon and T mean something else than in blocks of full attention.",
      count, phenomena.blocks.size(), width);
}

}  // namespace

std::string MetricParameters(const Phenomena& phenomena) {
  std::string text = fmt::format(
      "{} sequences of {} tokens; a channel spikes above {:g} medians of |h|; a head is a sink when alpha_1 exceeds "
      "epsilon = {:g} over T = {} tokens (arXiv 2410.10781) in more than half of the sequences, and a no-op when its "
      "|v_0| is also below {:g} of the others' mean (arXiv 2606.08105)",
      phenomena.sequences, phenomena.sequence_length, phenomena.spike_ratio, phenomena.sink_epsilon,
      phenomena.sink_length, phenomena.no_op_ratio);
  if (phenomena.outliers.ratio > 0)
    text +=
        fmt::format("; outlier tokens exceed {:g} medians over tokens (arXiv 2410.05265)", phenomena.outliers.ratio);
  if (phenomena.scan) text += fmt::format("; amplifiers exceed {:g} median norms", phenomena.scan->ratio_limit);
  if (phenomena.vocabulary)
    text += fmt::format("; a token of the vocabulary spikes from |h| = {:.4g} on", phenomena.vocabulary->threshold);
  return text + ".";
}

std::vector<std::string> Notices(const Phenomena& phenomena, const ModelConfig& config) {
  std::vector<std::string> notices = {
      "Parameters: " + MetricParameters(phenomena) +
      " The figures are ours, by name and with these parameters; they are not the 'Sink Ratio' and 'Spike' columns of "
      "arXiv 2603.05498, whose text defines neither in numbers."};
  for (const Notice& notice :
       {OfLength(phenomena), OfSpikeRule(phenomena), OfSinkHeads(phenomena), OfGates(phenomena), OfRetrofits(phenomena),
        OfSinkLogits(phenomena), OfQkNorm(config), OfActivation(config), OfWindows(phenomena)})
    if (notice) notices.push_back(*notice);
  return notices;
}

}  // namespace espalier
