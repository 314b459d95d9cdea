#include "espalier/calibrate/calibrate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "espalier/calibrate/gradients.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"

namespace espalier {
namespace {

using at::Tensor;

// (sequence, position) of every row of a batch [B, T] flattened: [B*T, 2] int64.
Tensor RowPlaces(int64_t first_window, int64_t B, int64_t T) {
  const Tensor sequence = at::arange(first_window, first_window + B).unsqueeze(1).expand({B, T}).flatten();
  const Tensor position = at::arange(T).unsqueeze(0).expand({B, T}).flatten();
  return at::stack({sequence, position}, 1);
}

void AddSite(SiteStatistics& site, const Tensor& value, const Tensor& outlier, int64_t first_window) {
  const int64_t B = value.size(0), T = value.size(1);
  const Tensor rows = value.reshape({B * T, value.size(2)});
  const Tensor mask = outlier.flatten();  // [B*T], CPU
  const Tensor ordinary = mask.logical_not().nonzero().squeeze(1), apart = mask.nonzero().squeeze(1);
  const Tensor places = RowPlaces(first_window, B, T);
  site.ordinary.Add(rows.index_select(0, ordinary.to(rows.device())), places.index_select(0, ordinary));
  site.outlier.Add(rows.index_select(0, apart.to(rows.device())), places.index_select(0, apart));
}

// Co-moments leave the accumulators as float32 once a block is done: half the memory.
void Narrow(SiteStatistics& site) {
  if (site.ordinary.products.defined()) site.ordinary.products = site.ordinary.products.to(at::kFloat);
}

}  // namespace

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

void StreamBlocks(const Model& model, const Tensor& windows, int64_t batch, const std::vector<Site>& sites,
                  const std::string& title, const VisitBlock& visit) {
  const at::NoGradGuard no_grad;
  const int64_t S = windows.size(0), T = windows.size(1);
  const Rope rope = MakeRope(model.config, T, model.device(), model.dtype());
  Tensor hidden = Embed(model, windows.to(model.device()));  // [S, T, C]
  Progress progress(title, model.config.L() * ((S + batch - 1) / batch));
  BlockTaps taps(sites);
  for (int64_t l = 0; l < model.config.L(); ++l) {
    for (int64_t first = 0; first < S; first += batch) {
      const int64_t B = std::min(batch, S - first);
      taps.Clear();
      const Tensor output = RunBlock(model, l, hidden.narrow(0, first, B), rope, &taps);
      visit(l, first, taps);
      hidden.narrow(0, first, B).copy_(output);
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

Statistics Calibrate(const Model& model, const Tensor& windows, const CalibrateOptions& options) {
  Statistics statistics;
  statistics.sequences = windows.size(0);
  statistics.length = windows.size(1);
  statistics.outlier_ratio = options.outlier_ratio;
  for (const BlockConfig& sizes : model.config.blocks) {
    BlockStatistics block;
    block.head_out = {Moments::Empty(sizes.H * model.config.D, false), Moments::Empty(sizes.H * model.config.D, false)};
    block.ffn_hidden = {Moments::Empty(sizes.F, false), Moments::Empty(sizes.F, false)};
    statistics.blocks.push_back(std::move(block));
  }
  const auto start_products = [](SiteStatistics& site) {
    const int64_t n = site.ordinary.mean.size(0);
    site.ordinary.products = at::zeros({n, n}, at::kDouble);
  };
  const int64_t last_batch = (windows.size(0) - 1) / options.batch * options.batch;
  const auto visit = [&](int64_t l, int64_t first, const BlockTaps& taps) {
    BlockStatistics& block = statistics.blocks[static_cast<size_t>(l)];
    const Tensor outlier =
        OutlierTokens(taps.At(Site::kBlockInput), taps.At(Site::kBlockOutput), options.outlier_ratio);
    for (const auto& [site, into] :
         {std::pair{Site::kHeadOut, &block.head_out}, {Site::kFfnHidden, &block.ffn_hidden}}) {
      if (!taps.At(site).defined()) continue;
      if (options.products && first == 0) start_products(*into);
      CheckFinite(taps.At(site), l, site);
      AddSite(*into, taps.At(site), outlier, first);
      if (first == last_batch) Narrow(*into);
    }
    CheckFinite(taps.At(Site::kBlockOutput), l, Site::kBlockOutput);
  };
  StreamBlocks(model, windows, options.batch, {Site::kBlockInput, Site::kHeadOut, Site::kFfnHidden, Site::kBlockOutput},
               "calibrate", visit);
  if (options.gradient_tokens > 0) {
    const int64_t wanted = (options.gradient_tokens + windows.size(1) - 1) / windows.size(1);
    AddLossMass(model, windows.narrow(0, 0, std::min(wanted, windows.size(0))), options.batch / 2, statistics);
  }
  return statistics;
}

}  // namespace espalier
