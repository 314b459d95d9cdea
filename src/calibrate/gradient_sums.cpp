// What is kept of the gradients of activations: loss masses of units and products of output gradients.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/calibrate/gradients.h"
#include "espalier/core/error.h"
#include "espalier/model/consumer.h"
#include "espalier/model/forward.h"
#include "espalier/model/head_layout.h"
#include "espalier/model/precision.h"
#include "espalier/model/unit_space.h"
#include "sums.h"

namespace espalier {
namespace {

using at::Tensor;

// A sublayer by what its consumer reads and what is added to the residual stream.
struct Sublayer {
  UnitKind kind;
  Role consumer;
  Site added;
  VectorRole post_norm;
  std::vector<UnitKind> slices;  // whose units are columns of the input
};
const Sublayer kSublayers[] = {
    {UnitKind::kAttention,
     Role::kO,
     Site::kAttnOut,
     VectorRole::kAttentionPostNorm,
     {UnitKind::kKvGroup, UnitKind::kQueryHead, UnitKind::kValueChannel}},
    {UnitKind::kFfn, Role::kDown, Site::kFfnOut, VectorRole::kFfnPostNorm, {UnitKind::kFfnChannel}}};

// x * dL/dx, [B, T, ...] -> [B*T, ...] float32.
Tensor Product(const ValueAndGradient& at) {
  return (at.value * at.gradient).flatten(0, 1).to(at::kFloat);
}

// Squared and summed over tokens: [N, units] -> [units] float64.
Tensor SquaredSum(const Tensor& slopes) {
  return slopes.square().sum(0, /*keepdim=*/false, at::kDouble).cpu();
}

// The sum over the columns of each unit, [N, n] -> [N, units].
Tensor SumColumns(const Tensor& product, const std::vector<std::vector<int64_t>>& columns) {
  std::vector<int64_t> flat, unit_of;
  bool alike = true;  // as many columns in every unit: no scattered additions
  for (size_t unit = 0; unit < columns.size(); ++unit) {
    flat.insert(flat.end(), columns[unit].begin(), columns[unit].end());
    unit_of.insert(unit_of.end(), columns[unit].size(), static_cast<int64_t>(unit));
    alike = alike && columns[unit].size() == columns[0].size();
  }
  const auto index = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(product.device());
  };
  const Tensor chosen = product.index_select(1, index(flat));
  const auto units = static_cast<int64_t>(columns.size());
  if (alike && !flat.empty()) return chosen.view({product.size(0), units, -1}).sum(2);
  return at::zeros({product.size(0), units}, product.options()).index_add_(1, index(unit_of), chosen);
}

std::vector<std::vector<int64_t>> ColumnsOf(const UnitSpace& space) {
  std::vector<std::vector<int64_t>> columns;
  for (int64_t unit = 0; unit < space.size(); ++unit) columns.push_back(space.ConsumerColumns(unit));
  return columns;
}

// Where the rows of w_k that each rotary pair owns are among the whole keys of all groups, G*D.
std::vector<std::vector<int64_t>> KeyPlacesOf(const UnitSpace& space, const HeadLayout& layout) {
  const std::vector<int64_t> places = layout.KeyPlaces();
  std::vector<std::vector<int64_t>> columns(static_cast<size_t>(space.size()));
  for (int64_t unit = 0; unit < space.size(); ++unit)
    for (const Slice& slice : space.Owns(unit))
      if (slice.role == Role::kK)
        for (int64_t row = slice.first; row < slice.first + slice.count; ++row)
          columns[static_cast<size_t>(unit)].push_back(places[static_cast<size_t>(row)]);
  return columns;
}

void AddPairMasses(const Model& model, int64_t l, const ValueAndGradient& keys, BlockStatistics& block) {
  const Tensor product = (keys.value * keys.gradient).transpose(1, 2).flatten(2, 3).flatten(0, 1);  // [N, G*D]
  const UnitSpace space(model, l, UnitKind::kQkPair);
  const HeadLayout layout(model.config.blocks[static_cast<size_t>(l)], model.config.D);
  AddTo(block.loss_mass, UnitKindName(UnitKind::kQkPair),
        SquaredSum(SumColumns(product.to(at::kFloat), KeyPlacesOf(space, layout))));
}

void AddMasses(const Model& model, int64_t l, const BlockGradients& gradients, BlockStatistics& block) {
  Tensor whole;  // [N, 1]: both sublayers together
  for (const Sublayer& sublayer : kSublayers) {
    const auto input = gradients.sites.find(InputSite(sublayer.consumer));
    if (input == gradients.sites.end()) continue;
    const Tensor product = Product(input->second);  // [N, n]
    for (const UnitKind kind : sublayer.slices)
      AddTo(block.loss_mass, UnitKindName(kind), SquaredSum(SumColumns(product, ColumnsOf({model, l, kind}))));
    const Tensor slope = Product(gradients.sites.at(sublayer.added)).sum(1, /*keepdim=*/true);
    AddTo(block.loss_mass, UnitKindName(sublayer.kind), SquaredSum(slope));
    whole = whole.defined() ? whole + slope : slope;
  }
  if (whole.defined()) AddTo(block.loss_mass, UnitKindName(UnitKind::kBlock), SquaredSum(whole));
  if (const auto keys = gradients.sites.find(Site::kK); keys != gradients.sites.end())
    AddPairMasses(model, l, keys->second, block);
}

// Backward of RMSNorm y = x r gain, r = (mean(x^2) + epsilon)^-1/2, in float32:
//   dx = r (gain dy - x r^2 mean(x gain dy)).
Tensor ThroughNorm(const ModelConfig& config, const Tensor& gain, const Tensor& x, const Tensor& gradient) {
  const Tensor scaled = gradient.to(at::kFloat) * NormGain(config, gain.to(at::kFloat)), wide = x.to(at::kFloat);
  const Tensor r = (wide.square().mean(-1, /*keepdim=*/true) + config.norm_epsilon).rsqrt();
  return r * (scaled - wide * r.square() * (wide * scaled).mean(-1, /*keepdim=*/true));
}

void AddProducts(const Model& model, int64_t l, const BlockGradients& gradients, BlockStatistics& block) {
  for (const Sublayer& sublayer : kSublayers) {
    const auto input = gradients.sites.find(InputSite(sublayer.consumer));
    if (input == gradients.sites.end()) continue;
    const Block& weights = model.blocks[static_cast<size_t>(l)];
    Tensor gradient = gradients.sites.at(sublayer.added).gradient;  // [B, T, C]
    if (const Tensor& gain = weights.At(sublayer.post_norm); gain.defined())
      gradient = ThroughNorm(model.config, gain, weights.At(sublayer.consumer).Apply(input->second.value), gradient);
    const Tensor rows = gradient.flatten(0, 1).to(at::kFloat);  // [N, C]
    // Float32 products over one batch only; batches add up in float64.
    AddTo(block.gradient_products, RoleName(sublayer.consumer), rows.t().matmul(rows).to(at::kDouble).cpu());
  }
}

void CheckGradient(int64_t l, const Tensor& gradient) {
  if (!std::isfinite(gradient.sum(at::kDouble).item<double>()))
    throw NumericError(
        fmt::format("block {}: the gradient of the loss at its input is not finite; use dtype float32", l));
}

}  // namespace

void AddGradientSums(const BlockSource& source, const Tensor& windows, int64_t batch, const GradientSums& wanted,
                     ForwardPass pass, Scratch& scratch, Statistics& statistics) {
  statistics.gradient_tokens += windows.numel();
  const int64_t last_batch = (windows.size(0) - 1) / batch * batch;
  const auto visit = [&](int64_t l, int64_t first, const BlockGradients& gradients) {
    const ProductsIn exact(source.model().device(), at::kFloat);
    CheckGradient(l, gradients.input);
    BlockStatistics& block = statistics.blocks[static_cast<size_t>(l)];
    if (wanted.masses) AddMasses(source.model(), l, gradients, block);
    if (!wanted.products) return;
    AddProducts(source.model(), l, gradients, block);
    if (first != last_batch) return;
    // As wide as in the file: half the memory.
    for (auto& [consumer, sums] : block.gradient_products) sums = scratch.Park(sums.to(at::kFloat));
  };
  StreamGradients(source, windows, batch, {Site::kK, Site::kHeadOut, Site::kAttnOut, Site::kFfnHidden, Site::kFfnOut},
                  std::move(pass), visit, wanted.rule);
}

}  // namespace espalier
