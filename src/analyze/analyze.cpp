#include "espalier/analyze/analyze.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <optional>

#include "espalier/analyze/amplifiers.h"
#include "espalier/analyze/notices.h"
#include "espalier/core/error.h"
#include "gates.h"
#include "life_cycle.h"
#include "outliers.h"
#include "post_norm.h"
#include "regime.h"
#include "sinks.h"
#include "spikes.h"

namespace espalier {
namespace {

// Rates over all heads.
void SummariseSinks(Phenomena& phenomena) {
  double rate = 0, mass = 0, heads = 0;
  for (const BlockPhenomena& block : phenomena.blocks) {
    const auto H = static_cast<double>(block.heads.size());
    rate += block.sink_share * H;
    mass += block.first_token_mass * H;
    heads += H;
  }
  phenomena.sink_rate = heads > 0 ? rate / heads : 0;
  phenomena.first_token_mass = heads > 0 ? mass / heads : 0;
  for (double& sinks : phenomena.sink_rate_by_position) sinks /= std::max(heads, 1.0);  // a sum over heads so far
}

// What is measured of one block.
struct BlockMeters {
  BlockMeters(const Model& model, int64_t l, const AnalyzeOptions& options)
      : spikes(options), regime(model, l, options), sinks(model, l, options), gates(model, l) {}

  void Add(const BlockTaps& taps, int64_t first_window) {
    spikes.Add(taps, first_window);
    regime.Add(taps, spikes.spike_tokens());
    sinks.Add(taps);
    gates.Add(taps);
  }
  BlockPhenomena Finish(Phenomena& phenomena) const {
    BlockPhenomena block;
    spikes.Finish(block);
    regime.Finish(block);
    sinks.Finish(block, phenomena);
    gates.Finish(block);
    return block;
  }

  SpikeMeter spikes;
  RegimeMeter regime;
  SinkMeter sinks;
  GateMeter gates;
};

}  // namespace

Phenomena Analyze(const Model& model, const at::Tensor& windows, const AnalyzeOptions& options, const std::string& name,
                  const Tokenizer* tokenizer) {
  if (windows.size(1) < options.sink_length)
    throw RecipeError(fmt::format("analyze: windows of {} tokens, expected at least sink_length = {}", windows.size(1),
                                  options.sink_length));
  Phenomena phenomena;
  phenomena.model = name;
  phenomena.family = model.config.family;
  phenomena.spike_ratio = options.spike_ratio;
  phenomena.sequences = windows.size(0);
  phenomena.sequence_length = windows.size(1);
  phenomena.sink_epsilon = options.sink_epsilon;
  phenomena.sink_length = options.sink_length;
  phenomena.no_op_ratio = options.no_op_ratio;

  PostNormMeter post_norm(model, options);
  OutlierMeter outliers(windows, model.config.L(), options);
  const int64_t last_batch = (windows.size(0) - 1) / options.batch * options.batch;
  std::optional<BlockMeters> meters;
  const auto visit = [&](int64_t l, int64_t first, const BlockTaps& taps) {
    if (first == 0) meters.emplace(model, l, options);
    meters->Add(taps, first);
    post_norm.Add(l, taps);
    outliers.Add(l, taps, first);
    if (first != last_batch) return;
    phenomena.blocks.push_back(meters->Finish(phenomena));
    AddSteps(model, l, meters->spikes, phenomena.blocks.back(), options, phenomena);
  };
  StreamBlocks(model, windows, options.batch,
               {Site::kBlockInput, Site::kQ, Site::kK, Site::kV, Site::kAttnProbs, Site::kSdpaOut, Site::kGateScore,
                Site::kHeadOut, Site::kAttnOut, Site::kAttnResidual, Site::kFfnNorm, Site::kFfnHidden, Site::kFfnOut,
                Site::kBlockOutput},
               "analyze " + name, visit);
  SummariseSinks(phenomena);
  SummariseSpikes(options, phenomena);
  post_norm.Finish(phenomena);
  outliers.Finish(phenomena, tokenizer);
  phenomena.super_weights = FindSuperWeights(model, windows.narrow(0, 0, 1), options.super_weight_limit);
  if (options.scan) {
    phenomena.scan = FindAmplifiers(model, options);
    CompareWithCensus(phenomena, *phenomena.scan);
  }
  phenomena.notices = Notices(phenomena, model.config);
  return phenomena;
}

}  // namespace espalier
