#include "espalier/analyze/vocabulary.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/random.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/forward.h"
#include "token_text.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kMaxExceptions = 50;
constexpr uint64_t kSampleStream = 0x70726f6265;  // "probe"

// Where to measure, and from which |h| on a token spikes.
struct Place {
  Sublayer sublayer;
  double threshold = 0;
};

Place PlaceOf(const Phenomena& phenomena, const AnalyzeOptions& options) {
  std::vector<Sublayer> candidates = phenomena.step_up;
  if (candidates.empty())
    for (int64_t l = 0; l < std::ssize(phenomena.blocks); ++l) candidates.push_back({l, false});
  const auto census = [&](const Sublayer& sublayer) -> const Census& {
    const BlockPhenomena& block = phenomena.blocks[static_cast<size_t>(sublayer.block)];
    return sublayer.attention ? block.attention : block.ffn;
  };
  const Sublayer most = *std::max_element(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
    return census(a).Ratio() < census(b).Ratio();
  });
  return {most, std::max(options.spike_ratio * census(most).residual_median, options.spike_absolute)};
}

class Prober {
 public:
  Prober(const Model& model, const Place& place, const std::vector<int64_t>& channels)
      : model_(model), place_(place), channels_(at::tensor(channels, at::kLong).to(model.device())) {}

  // ids [B, T] -> [B] bool, CPU: whether the last token spikes. Later blocks are not computed.
  Tensor Spikes(const Tensor& ids) const {
    const Site site = place_.sublayer.attention ? Site::kAttnResidual : Site::kBlockOutput;
    BlockTaps taps({site});
    Tensor h = Embed(model_, ids.to(model_.device()));
    const Rope rope = RopeWith(MakeRope(model_.config, ids.size(1), model_.device(), model_.dtype()), model_.config, h);
    for (int64_t l = 0; l <= place_.sublayer.block; ++l) h = RunBlock(model_, l, h, rope, &taps);
    Tensor last = taps.At(site).select(1, ids.size(1) - 1).abs();  // [B, C]
    if (channels_.size(0) > 0) last = last.index_select(1, channels_);
    return (last.amax(1) > place_.threshold).cpu();
  }

 private:
  const Model& model_;
  Place place_;
  Tensor channels_;
};

// Distinct ids, the same for the same seed.
Tensor SampleIds(int64_t vocabulary, const AnalyzeOptions& options) {
  std::vector<int64_t> ids = RandomOrder(vocabulary, options.vocabulary_seed, kSampleStream);
  ids.resize(static_cast<size_t>(std::min(vocabulary, options.vocabulary_sample)));
  return at::tensor(ids, at::kLong);
}

}  // namespace

VocabularyProbe ProbeVocabulary(const Model& model, const Phenomena& phenomena, const Tensor& prefix,
                                const Tokenizer* tokenizer, const AnalyzeOptions& options) {
  ESPALIER_CHECK(prefix.dim() == 1 && prefix.size(0) > 0 && !phenomena.blocks.empty(), "a prefix and measured blocks");
  const at::NoGradGuard no_grad;
  const Place place = PlaceOf(phenomena, options);
  const Prober prober(model, place, phenomena.spike_channels);
  VocabularyProbe probe;
  probe.block = place.sublayer.block;
  probe.threshold = place.threshold;
  probe.tokens = tokenizer != nullptr ? std::min(model.config.V, tokenizer->vocabulary_size()) : model.config.V;
  probe.later_position = prefix.size(0);
  const Tensor sample = SampleIds(probe.tokens, options);
  probe.later_tokens = sample.size(0);
  Progress progress("probe vocabulary", probe.tokens + probe.later_tokens);
  for (int64_t first = 0; first < probe.tokens; first += options.vocabulary_batch) {
    const int64_t n = std::min(options.vocabulary_batch, probe.tokens - first);
    const Tensor ordinary = prober.Spikes(at::arange(first, first + n).unsqueeze(1)).logical_not().nonzero().squeeze(1);
    probe.spiking += n - ordinary.size(0);
    for (int64_t i = 0; i < ordinary.size(0) && std::ssize(probe.exceptions) < kMaxExceptions; ++i) {
      const int64_t id = first + ordinary[i].item<int64_t>();
      probe.exceptions.push_back({id, TokenText(tokenizer, id), 0, 0});
    }
    progress.Step(n, fmt::format("{} spike", FormatCount(probe.spiking)));
  }
  for (int64_t first = 0; first < probe.later_tokens; first += options.vocabulary_batch) {
    const int64_t n = std::min(options.vocabulary_batch, probe.later_tokens - first);
    const Tensor before = prefix.cpu().unsqueeze(0).expand({n, prefix.size(0)});
    probe.later_spiking +=
        prober.Spikes(at::cat({before, sample.narrow(0, first, n).unsqueeze(1)}, 1)).sum().item<int64_t>();
    progress.Step(n, fmt::format("at position {}", probe.later_position));
  }
  return probe;
}

}  // namespace espalier
