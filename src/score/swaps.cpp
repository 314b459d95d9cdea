#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "espalier/calibrate/cholesky.h"
#include "espalier/core/error.h"
#include "espalier/score/removal.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr double kWorthwhile = 1e-9;  // of the cost: less is rounding

Tensor Among(const Tensor& matrix, const Tensor& rows, const Tensor& columns) {
  return matrix.index_select(0, rows).index_select(1, columns);
}

// The cost now, and by how much each exchange would change it: [removed, kept].
struct Exchanges {
  double cost = 0;
  Tensor change;
};

Exchanges Evaluate(const Tensor& h, const Tensor& p, const Tensor& kept, const Tensor& removed) {
  const Tensor factor = CholeskyFactor(Among(h, kept, kept), "swaps", "kept inputs", "use more calibration tokens");
  const Tensor a = at::cholesky_inverse(factor).diagonal();          // [K]
  const Tensor h_kr = Among(h, kept, removed);                       // [K, R]
  const Tensor b = at::cholesky_solve(h_kr, factor);                 // [K, R]
  const Tensor m = Among(h, removed, removed) - h_kr.t().matmul(b);  // [R, R]
  const Tensor p_rr = Among(p, removed, removed), p_rk = Among(p, removed, kept);
  const Tensor refitted = p_rk + p_rr.matmul(b.t());                                           // [R, K]: W_R^T G W'_K
  const Tensor own = p.diagonal().index_select(0, kept) + (b.t() * (p_rk + refitted)).sum(0);  // [K]: P'_kk
  const Tensor pivot = m.diagonal().unsqueeze(1);                                              // [R, 1]
  const Tensor q = (m.matmul(p_rr) * m).sum(1, /*keepdim=*/true) / pivot.square();
  const Tensor x = m.matmul(refitted) / pivot;  // [R, K]
  const Tensor slope = b.t();
  const Tensor cost =
      (own.unsqueeze(0) - 2 * slope * x + slope.square() * q).clamp_min(0) / (a.unsqueeze(0) + slope.square() / pivot);
  return {(m * p_rr).sum().item<double>(), cost - pivot * q};
}

std::vector<int64_t> Others(const std::vector<int64_t>& removed, int64_t n) {
  std::vector<int64_t> others;
  for (int64_t column = 0; column < n; ++column)
    if (!std::binary_search(removed.begin(), removed.end(), column)) others.push_back(column);
  return others;
}

}  // namespace

SwapResult SearchSwaps(const Tensor& h, const Tensor& p, std::vector<int64_t> removed, const std::vector<int64_t>& held,
                       int64_t most) {
  std::sort(removed.begin(), removed.end());
  SwapResult result{std::move(removed), 0, 0, 0};
  const int64_t n = h.size(0);
  if (result.removed.empty() || std::ssize(result.removed) == n) return result;
  for (;;) {
    const std::vector<int64_t> kept = Others(result.removed, n);
    Exchanges all = Evaluate(h, p, at::tensor(kept, at::kLong), at::tensor(result.removed, at::kLong));
    result.after = all.cost;
    if (result.exchanges == 0) result.before = all.cost;
    if (result.exchanges == most) return result;
    for (size_t k = 0; k < kept.size(); ++k)
      if (std::find(held.begin(), held.end(), kept[k]) != held.end())
        all.change.select(1, static_cast<int64_t>(k)).fill_(std::numeric_limits<double>::infinity());
    const auto best = all.change.argmin().item<int64_t>();
    const int64_t r = best / std::ssize(kept), k = best % std::ssize(kept);
    if (!(all.change[r][k].item<double>() < -kWorthwhile * all.cost)) return result;
    result.removed[static_cast<size_t>(r)] = kept[static_cast<size_t>(k)];
    std::sort(result.removed.begin(), result.removed.end());
    ++result.exchanges;
  }
}

Tensor OutputSystem(const ScoreInput& input, Role consumer, bool gradient) {
  const Tensor w = ConsumerWeight(input, consumer);  // [C, n]
  if (!gradient) return w.t().matmul(w);
  const NamedSums& products = BlockFor(input).gradient_products;
  const auto found = products.find(RoleName(consumer));
  ESPALIER_CHECK(found != products.end() && input.statistics->gradient_tokens > 0,
                 "the gradient metric needs calibration with gradient products");
  if (found->second.size(0) != w.size(0))
    throw ShapeError(
        fmt::format("obs: block {}: gradients of {} outputs of {}, the model has {}; calibrate this model "
                    "again",
                    input.block, found->second.size(0), RoleName(consumer), w.size(0)));
  return w.t().matmul(found->second.to(at::kDouble).matmul(w)) / static_cast<double>(input.statistics->gradient_tokens);
}

}  // namespace espalier
