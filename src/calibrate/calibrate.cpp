#include "espalier/calibrate/calibrate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "attention_sums.h"
#include "espalier/calibrate/gradients.h"
#include "espalier/calibrate/weight_gradients.h"
#include "espalier/comm/share.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/io/mapped.h"
#include "espalier/model/consumer.h"
#include "espalier/model/forward.h"
#include "espalier/model/precision.h"
#include "influence.h"

namespace espalier {
namespace {

using at::Tensor;

// (sequence, position) of every row of a batch [B, T] flattened: [B*T, 2] int64.
Tensor RowPlaces(int64_t first_window, int64_t B, int64_t T) {
  const Tensor sequence = at::arange(first_window, first_window + B).unsqueeze(1).expand({B, T}).flatten();
  const Tensor position = at::arange(T).unsqueeze(0).expand({B, T}).flatten();
  return at::stack({sequence, position}, 1);
}

// Co-moments leave the accumulators as float32 once a block is done: half the memory, as in the file.
void Narrow(SiteStatistics& site, Scratch& scratch) {
  Tensor& products = site.counted.products;
  if (products.defined()) products = scratch.Park(products.to(at::kFloat));
}

Statistics Empty(const ModelConfig& config, const Tensor& windows, const CalibrateOptions& options) {
  Statistics statistics;
  statistics.sequences = windows.size(0);
  statistics.length = windows.size(1);
  statistics.outlier_ratio = options.outlier_ratio;
  statistics.tokens = options.tokens;
  for (int64_t l = 0; l < config.L(); ++l) {
    BlockStatistics block;
    for (const Role consumer : {Role::kO, Role::kDown}) {
      const std::vector<int64_t> shape = ExpectedShape(config, l, consumer);  // ragged heads: less than H*D
      const int64_t n = shape.empty() ? 0 : shape[1];
      block.At(consumer) = {Moments::Empty(n, false), Moments::Empty(n, false)};
    }
    statistics.blocks.push_back(std::move(block));
  }
  return statistics;
}

// What one sublayer's moments are made of: its consumer's input, weighed by the residual stream after its addition.
struct Sublayer {
  Role consumer;
  Site residual;
};
constexpr Sublayer kSublayers[] = {{Role::kO, Site::kAttnResidual}, {Role::kDown, Site::kBlockOutput}};

// One batch of one block.
void AddMoments(const ModelConfig& config, const BlockTaps& taps, int64_t l, int64_t first_window,
                const Tensor& outlier, const CalibrateOptions& options, BlockStatistics& block) {
  for (const Sublayer& sublayer : kSublayers) {
    const Site input = InputSite(sublayer.consumer);
    const Tensor& value = taps.At(input);
    if (!value.defined()) continue;
    CheckFinite(value, l, input);
    SiteStatistics& site = block.At(sublayer.consumer);
    if (options.products && !site.counted.products.defined())
      site.counted.products = at::zeros({value.size(2), value.size(2)}, at::kDouble);
    const Tensor weights = TokenWeights(options.tokens, outlier, taps.At(sublayer.residual), config.norm_epsilon);
    AddTokens(site, value, weights, first_window);
  }
}

std::vector<Site> SitesFor(const CalibrateOptions& options) {
  std::vector<Site> sites = {Site::kBlockInput, Site::kHeadOut, Site::kAttnResidual, Site::kFfnHidden,
                             Site::kBlockOutput};
  if (options.attention) sites.insert(sites.end(), {Site::kAttnProbs, Site::kGateScore});
  return sites;
}

}  // namespace

void AddTokens(SiteStatistics& site, const Tensor& value, const Tensor& weights, int64_t first_window) {
  const int64_t B = value.size(0), T = value.size(1);
  const Tensor rows = value.reshape({B * T, value.size(2)}), places = RowPlaces(first_window, B, T);
  const Tensor weight = weights.flatten();  // [B*T]
  const Tensor counted = weight.nonzero().squeeze(1), left_out = weight.eq(0).nonzero().squeeze(1);
  const auto chosen = [&](const Tensor& tensor, const Tensor& index) {
    return index.size(0) == B * T ? tensor : tensor.index_select(0, index.to(tensor.device()));
  };
  const Tensor positive = chosen(weight, counted);
  const bool alike = positive.eq(1).all().item<bool>();
  site.counted.Add(chosen(rows, counted), chosen(places, counted), alike ? Tensor() : positive);
  site.left_out.Add(chosen(rows, left_out), chosen(places, left_out));
}

void CheckFinite(const Tensor& values, int64_t block, Site site) {
  if (std::isfinite(values.sum(at::kDouble).item<double>())) return;
  throw NumericError(fmt::format("block {}: {}: a value is not finite; check the checkpoint, or use dtype float32",
                                 block, SiteName(site)));
}

bool BlockTaps::Wants(int64_t, Site site) const {
  return std::find(sites_.begin(), sites_.end(), site) != sites_.end();
}

void BlockTaps::Observe(int64_t, Site site, const Tensor& value) {
  values_[site] = value;
}

const Tensor& BlockTaps::At(Site site) const {
  static const Tensor undefined;
  const auto found = values_.find(site);
  return found == values_.end() ? undefined : found->second;
}

void StreamBlocks(const BlockSource& source, const Tensor& windows, int64_t batch, const std::vector<Site>& sites,
                  const std::string& title, const VisitBlock& visit, const Scratch& scratch) {
  const at::NoGradGuard no_grad;
  const Model& model = source.model();
  const int64_t S = windows.size(0), T = windows.size(1);
  const Rope rope = MakeRope(model.config, T, model.device(), model.dtype());
  const Tensor hidden = scratch.Empty({S, T, model.config.C}, model.embedding.options());
  for (int64_t first = 0; first < S; first += batch) {
    const int64_t B = std::min(batch, S - first);
    hidden.narrow(0, first, B).copy_(Embed(model, windows.narrow(0, first, B).to(model.device())));
  }
  Progress progress(title, model.config.L() * ((S + batch - 1) / batch));
  BlockTaps taps(sites);
  for (int64_t l = 0; l < model.config.L(); ++l) {
    const BlockSource::Held held = source.Hold(l);
    for (int64_t first = 0; first < S; first += batch) {
      const int64_t B = std::min(batch, S - first);
      taps.Clear();
      const Tensor rows = hidden.narrow(0, first, B);  // [B, T, C]
      const Rope own = model.config.variants.gate_signal == GateSignal::kToken
                           ? RopeWith(rope, model.config, Embed(model, windows.narrow(0, first, B).to(model.device())))
                           : rope;
      const Tensor output = RunBlock(model, l, rows.to(model.device()), own, &taps);
      visit(l, first, taps);
      rows.copy_(output);
      LetGo(rows);
      progress.Step(1, fmt::format("block {}", l));
    }
  }
}

Tensor OutlierTokens(const Tensor& input, const Tensor& output, double ratio) {
  const auto exceeds = [ratio](const Tensor& h) {
    const Tensor largest = h.abs().amax(-1).to(at::kFloat).cpu();  // [B, T]
    return largest > std::get<0>(largest.median(1, /*keepdim=*/true)) * ratio;
  };
  Tensor outlier = exceeds(input).logical_or(exceeds(output));
  outlier.select(1, 0).fill_(true);
  return outlier;
}

Tensor TokenWeights(TokenWeighting weighting, const Tensor& outlier, const Tensor& residual, double norm_epsilon) {
  if (weighting == TokenWeighting::kOrdinary) return outlier.cpu().logical_not().to(at::kDouble);
  if (weighting == TokenWeighting::kInverseRms)
    return (residual.to(at::kFloat).square().mean(-1, /*keepdim=*/false, at::kDouble) + norm_epsilon)
        .reciprocal()
        .cpu();
  Tensor weights = at::ones(outlier.sizes(), at::kDouble);
  if (weighting == TokenWeighting::kNotFirst) weights.select(1, 0).zero_();
  return weights;  // [B, T]
}

Statistics Calibrate(const BlockSource& source, const Tensor& windows, const CalibrateOptions& options) {
  const ModelConfig& config = source.model().config;
  Statistics statistics = Empty(config, windows, options);
  Scratch scratch(options.memory, options.scratch);
  const int64_t last_batch = (windows.size(0) - 1) / options.batch * options.batch;
  const int64_t wanted = (options.gradient_tokens + windows.size(1) - 1) / windows.size(1);
  const Tensor some = windows.narrow(0, 0, std::min(wanted, windows.size(0)));
  const bool sums = options.gradients || options.gradient_products;
  ForwardPass pass;  // of the windows whose gradients are taken: they are not run twice
  if (sums) pass = ForwardPass::Empty(source.model(), some.sizes(), scratch);
  const auto keep = [&](const Tensor& value, int64_t first, const Tensor& rows) {
    const int64_t B = std::min(value.size(0), some.size(0) - first);
    if (B <= 0) return;
    const Tensor kept = rows.narrow(0, first, B);
    kept.copy_(value.narrow(0, 0, B));
    LetGo(kept);
  };
  const ProductsIn rounded(source.model().device(), options.matmul);
  const auto visit = [&](int64_t l, int64_t first, const BlockTaps& taps) {
    const ProductsIn exact(source.model().device(), at::kFloat);
    BlockStatistics& block = statistics.blocks[static_cast<size_t>(l)];
    const Tensor outlier =
        OutlierTokens(taps.At(Site::kBlockInput), taps.At(Site::kBlockOutput), options.outlier_ratio);
    AddMoments(config, taps, l, first, outlier, options, block);
    CheckFinite(taps.At(Site::kBlockOutput), l, Site::kBlockOutput);
    if (sums) {
      keep(taps.At(Site::kBlockInput), first, pass.inputs[l]);
      if (l + 1 == config.L()) keep(taps.At(Site::kBlockOutput), first, pass.output);
    }
    if (options.attention) AddAttention(taps, block.attention);
    if (options.influence) {
      const Tensor weights = TokenWeights(options.tokens, outlier, taps.At(Site::kBlockOutput), config.norm_epsilon);
      AddInfluence(taps, weights.gt(0), block.influence);
    }
    if (first != last_batch) return;
    for (const Sublayer& sublayer : kSublayers) Narrow(block.At(sublayer.consumer), scratch);
  };
  StreamBlocks(source, windows, options.batch, SitesFor(options), "calibrate", visit, scratch);

  if (sums)
    AddGradientSums(source, some, std::max<int64_t>(options.batch / 2, 1),
                    {.masses = options.gradients, .products = options.gradient_products, .rule = options.targets},
                    std::move(pass), scratch, statistics);
  if (options.weight_gradients) AddTaylorSums(source, some, scratch, statistics);
  return statistics;
}

Statistics CalibrateShare(const BlockSource& source, const Tensor& windows, const CalibrateOptions& options,
                          const Comm& comm) {
  if (comm.size() == 1) return Calibrate(source, windows, options);
  if (options.weight_gradients)
    throw RecipeError("prune.score: Taylor sums cannot be measured by several processes; start one");
  if (windows.size(0) < comm.size())
    throw RecipeError(fmt::format("data.calibration.sequences: {} windows for {} processes; start fewer of them",
                                  windows.size(0), comm.size()));
  const auto of = [&](const Share& share) { return windows.narrow(0, share.first, share.end - share.first); };
  CalibrateOptions own = options;
  own.gradients = own.gradient_products = false;
  Statistics statistics = Calibrate(source, of(OwnShare(comm, windows.size(0))), own);
  if (!options.gradients && !options.gradient_products) return statistics;
  const int64_t wanted = (options.gradient_tokens + windows.size(1) - 1) / windows.size(1);
  const Share share = OwnShare(comm, std::min(wanted, windows.size(0)));
  if (share.first == share.end) return statistics;
  const int64_t batch = std::max<int64_t>(options.batch / 2, 1);
  Scratch scratch(options.memory, options.scratch);
  const ProductsIn rounded(source.model().device(), options.matmul);
  TargetRule rule = options.targets;
  rule.before = share.first;
  AddGradientSums(source, of(share), batch,
                  {.masses = options.gradients, .products = options.gradient_products, .rule = rule},
                  RunForward(source, of(share), batch, scratch), scratch, statistics);
  return statistics;
}

}  // namespace espalier
