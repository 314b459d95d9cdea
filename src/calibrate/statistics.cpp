#include "espalier/calibrate/statistics.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/names.h"
#include "sums.h"

namespace espalier {
namespace {

using at::Tensor;

// Keeps the larger of two maxima and where it was.
void TakeMax(Moments& into, const Tensor& max, const Tensor& at) {
  const Tensor larger = max > into.max;  // [n]
  into.max = at::where(larger, max, into.max);
  into.max_at = at::where(larger.unsqueeze(1), at, into.max_at);
}

// The sequences of `moments` are the `first`-th and later of the whole.
Moments Later(Moments moments, int64_t first) {
  moments.max_at = moments.max_at + at::tensor({first, int64_t{0}}, at::kLong);
  return moments;
}

void CheckMergeable(const Statistics& a, const Statistics& b) {
  if (a.blocks.size() != b.blocks.size())
    throw ShapeError(fmt::format("statistics: expected {} blocks, got {}", a.blocks.size(), b.blocks.size()));
  if (a.length != b.length)
    throw ShapeError(fmt::format("statistics: expected windows of {} tokens, got {}", a.length, b.length));
  if (a.tokens != b.tokens)
    throw ShapeError(fmt::format("statistics: expected tokens weighted '{}', got '{}'", TokenWeightingName(a.tokens),
                                 TokenWeightingName(b.tokens)));
}

}  // namespace

const std::vector<std::string>& TokenWeightingNames() {
  static const std::vector<std::string> names = {"all", "not_first", "ordinary", "inverse_rms"};
  return names;
}

std::string_view TokenWeightingName(TokenWeighting weighting) {
  return TokenWeightingNames()[static_cast<size_t>(weighting)];
}

TokenWeighting ParseTokenWeighting(std::string_view name) {
  return static_cast<TokenWeighting>(IndexOfName("token weighting", name, TokenWeightingNames()));
}

namespace {

// x^T x [n, n] of x [N, n]. Strips of columns on and above the diagonal only, mirrored: five eighths of the work.
Tensor GramOf(const Tensor& x) {
  constexpr int64_t kStrips = 4, kSmall = 512;  // narrower products gain nothing
  const int64_t n = x.size(1);
  if (n < kSmall) return x.t().matmul(x);
  Tensor gram = at::empty({n, n}, x.options());
  const int64_t width = (n + kStrips - 1) / kStrips;
  for (int64_t first = 0; first < n; first += width) {
    const int64_t rows = std::min(width, n - first), rest = n - first;
    const Tensor strip = x.narrow(1, first, rows).t().matmul(x.narrow(1, first, rest));  // [rows, rest]
    gram.narrow(0, first, rows).narrow(1, first, rest).copy_(strip);
    gram.narrow(1, first, rows).narrow(0, first, rest).copy_(strip.t());
  }
  return gram;
}

// Where the largest magnitude of each of `columns` is, [n, 2]; zeros for the other columns, which are not asked for.
Tensor PlacesOfMax(const Tensor& x, const Tensor& where, const Tensor& columns) {
  Tensor places = at::zeros({x.size(1), 2}, at::kLong);
  if (columns.numel() == 0) return places;
  // Contiguous rows: the reduction is several times faster.
  const Tensor some = x.t().index_select(0, columns.to(x.device())).abs();  // [columns, N]
  return places.index_copy_(0, columns, where.index_select(0, some.argmax(1).cpu()));
}

}  // namespace

Moments Moments::Empty(int64_t n, bool with_products) {
  Moments moments;
  moments.mean = at::zeros({n}, at::kDouble);
  moments.squares = at::zeros({n}, at::kDouble);
  moments.fourth_powers = at::zeros({n}, at::kDouble);
  moments.max = at::full({n}, -1.0, at::kDouble);
  moments.max_at = at::zeros({n, 2}, at::kLong);
  if (with_products) moments.products = at::zeros({n, n}, at::kDouble);
  return moments;
}

void Moments::Add(const Tensor& x, const Tensor& where, const Tensor& weights) {
  if (x.size(0) == 0) return;
  const bool weighted = weights.defined();
  Moments batch;
  batch.count = x.size(0);
  batch.weight = weighted ? weights.sum().item<double>() : static_cast<double>(batch.count);
  const Tensor wide = x.to(at::kFloat), scale = weighted ? weights.to(x.device(), at::kFloat) : Tensor();
  // Deviations from a float32 shift near the mean, corrected for the shift: what is summed in float32 is as small as
  // the spread, and no float64 copies are made.
  const Tensor shift = weighted ? scale.matmul(wide).div_(batch.weight) : wide.mean(0);
  Tensor centred = wide - shift;  // [N, n]
  const Tensor root = weighted ? scale.sqrt() : Tensor();
  if (weighted) centred.mul_(root.unsqueeze(1));
  const Tensor excess = weighted ? root.matmul(centred) : centred.sum(0);
  const Tensor off = excess.to(at::kDouble).cpu() / batch.weight;  // [n]
  batch.mean = shift.to(at::kDouble).cpu() + off;
  if (products.defined()) {
    // Float32 products over one batch only; batches add up in float64.
    batch.products = GramOf(centred).to(at::kDouble).cpu().addr_(off, off, 1, -batch.weight);
    batch.squares = batch.products.diagonal().clamp_min(0);
  } else {
    batch.squares =
        (centred.square().sum(0, /*keepdim=*/false, at::kDouble).cpu() - off.square() * batch.weight).clamp_min_(0);
  }
  const Tensor fourth = wide.square().square_();
  batch.fourth_powers = (weighted ? scale.matmul(fourth) : fourth.sum(0)).to(at::kDouble).cpu();
  batch.max = x.abs().amax(0).to(at::kDouble).cpu();
  batch.max_at = PlacesOfMax(x, where, (batch.max > max).nonzero().squeeze(1));
  Merge(batch);
}

void Moments::Merge(const Moments& other) {
  if (other.count == 0) return;
  if (mean.sizes() != other.mean.sizes())
    throw ShapeError(fmt::format("statistics: expected {} channels, got {}", mean.size(0), other.mean.size(0)));
  const double total = weight + other.weight, reduced = weight * other.weight / total;
  const Tensor delta = other.mean - mean;
  squares = squares + other.squares + delta.square() * reduced;
  // A new tensor: copies of these moments share the old one.
  if (products.defined() && other.products.defined())
    products = (products.to(at::kDouble) + other.products).addr_(delta, delta, 1, reduced);
  fourth_powers = fourth_powers + other.fourth_powers;
  mean = mean + delta * (other.weight / total);
  count += other.count;
  weight = total;
  TakeMax(*this, other.max, other.max_at);
}

Tensor Moments::PerToken(const Tensor& sum) const {
  return weight > 0 ? sum / weight : sum;
}

Tensor Moments::Variance() const {
  return PerToken(squares);
}

Tensor Moments::SumOfSquares() const {
  return squares + mean.square() * weight;
}

void Statistics::Merge(const Statistics& other) {
  CheckMergeable(*this, other);
  for (size_t l = 0; l < blocks.size(); ++l) {
    for (const Role consumer : {Role::kO, Role::kDown}) {
      SiteStatistics& site = blocks[l].At(consumer);
      site.counted.Merge(Later(other.blocks[l].At(consumer).counted, sequences));
      site.left_out.Merge(Later(other.blocks[l].At(consumer).left_out, sequences));
    }
    for (const SumGroup& group : kSumGroups) {
      const NamedSums& more = other.blocks[l].*group.member;
      ESPALIER_CHECK(group.additive || (more.empty() && (blocks[l].*group.member).empty()),
                     fmt::format("'{}' sums cannot be merged", group.name));
      for (const auto& [name, sums] : more) AddTo(blocks[l].*group.member, name, sums);
    }
  }
  gradient_tokens += other.gradient_tokens;
  sequences += other.sequences;
}

void AddTo(NamedSums& sums, std::string_view name, const Tensor& more) {
  const auto found = sums.find(name);
  if (found == sums.end())
    sums.emplace(name, more);
  else
    found->second = found->second.to(at::kDouble) + more;  // a new tensor: copies share the old one
}

}  // namespace espalier
