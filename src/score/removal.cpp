#include "espalier/score/removal.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

namespace espalier {
namespace {

using at::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Rank-one downdates that are gathered before they are applied as one matrix product: the product runs at the speed of
// arithmetic, a rank-one downdate at that of memory.
constexpr int64_t kPanel = 64;

bool SingleColumns(const std::vector<std::vector<int64_t>>& columns) {
  return std::all_of(columns.begin(), columns.end(), [](const auto& unit) { return unit.size() == 1; });
}

// Units of unequal width as one batch: [units, widest] columns, and which of them are only filled up.
struct Batch {
  Tensor columns, filling;
};
Batch BatchOf(const std::vector<std::vector<int64_t>>& columns) {
  size_t widest = 0;
  for (const auto& unit : columns) widest = std::max(widest, unit.size());
  std::vector<int64_t> flat;
  for (const auto& unit : columns) {
    flat.insert(flat.end(), unit.begin(), unit.end());
    flat.insert(flat.end(), widest - unit.size(), -1);
  }
  const Tensor places = at::tensor(flat, at::kLong).view({static_cast<int64_t>(columns.size()), -1});
  return {places.clamp_min(0), places.lt(0)};
}

// The diagonal blocks of `matrix` that belong to the units, filled up with `diagonal` times the identity.
Tensor DiagonalBlocks(const Tensor& matrix, const Batch& batch, double diagonal) {
  const int64_t m = batch.columns.size(1);
  const Tensor filling = batch.filling.unsqueeze(1).logical_or(batch.filling.unsqueeze(2));  // [units, m, m]
  const Tensor blocks = matrix.index({batch.columns.unsqueeze(2), batch.columns.unsqueeze(1)});
  const Tensor eye = at::eye(m, matrix.options()).mul_(diagonal);
  return at::where(filling, eye.unsqueeze(0), blocks);
}

// tr(A^-1 B) of each pair of symmetric matrices [units, m, m], A positive definite.
Tensor TracesOfQuotient(const Tensor& a, const Tensor& b) {
  const Tensor factor = std::get<0>(at::linalg_cholesky_ex(a));
  return at::cholesky_solve(b, factor).diagonal(0, 1, 2).sum(1);  // [units]
}

// Removes the columns g from both matrices, in place.
void Remove(const Tensor& g, RemovalSystem& system) {
  const Tensor rows = system.inverse.index_select(0, g);  // [m, n]
  const Tensor factor = std::get<0>(at::linalg_cholesky_ex(rows.index_select(1, g)));
  const Tensor b = at::cholesky_solve(rows, factor);  // [m, n]
  const Tensor p = system.output.index_select(0, g);  // [m, n]
  const Tensor half = p - p.index_select(1, g).matmul(b) / 2;
  system.inverse.addmm_(rows.t(), b, 1, -1);
  system.output.addmm_(half.t(), b, 1, -1).addmm_(b.t(), half, 1, -1);
}

Tensor GreedyGroups(RemovalSystem system, const std::vector<std::vector<int64_t>>& columns, const Tensor& factors) {
  const auto units = static_cast<int64_t>(columns.size());
  Tensor score = at::empty({units}, at::kDouble);
  std::vector<int64_t> left(columns.size());
  for (int64_t unit = 0; unit < units; ++unit) left[static_cast<size_t>(unit)] = unit;
  for (double dearest = 0; !left.empty();) {
    std::vector<std::vector<int64_t>> remaining;
    for (const int64_t unit : left) remaining.push_back(columns[static_cast<size_t>(unit)]);
    const Tensor costs = RemovalCosts(
        system, remaining, factors.defined() ? factors.index_select(0, at::tensor(left, at::kLong)) : factors);
    const auto at = costs.argmin().item<int64_t>();
    dearest = std::max(dearest, costs[at].item<double>());
    const int64_t unit = left[static_cast<size_t>(at)];
    score[unit] = dearest;
    left.erase(left.begin() + at);
    Remove(at::tensor(columns[static_cast<size_t>(unit)], at::kLong), system);
  }
  return score;
}

// Single columns: the same steps, with the downdates of a panel applied lazily. Within a panel the current row j of
// H^-1 is that of the panel's start minus sum_s v_sj v_s, and of P minus sum_s (a_sj b_s + b_sj a_s), where step s
// removed column j_s with v_s = H^-1_js / sqrt(H^-1_jj), b_s = H^-1_js / H^-1_jj and a_s = P_js - P_jj b_s / 2. The
// diagonals, which decide the next removal, are always current.
class GreedyColumns {
 public:
  GreedyColumns(const RemovalSystem& system, const Tensor& factors)
      : inverse_(system.inverse),
        output_(system.output),
        factors_(factors.defined() ? factors : at::ones({inverse_.size(0)}, at::kDouble)),
        left_(at::arange(inverse_.size(0), at::kLong)) {}

  // Columns of H in order of removal, and the running maximum of the costs.
  Tensor Run() {
    Tensor score = at::empty({left_.size(0)}, at::kDouble);
    while (left_.size(0) > 0) {
      StartPanel();
      const int64_t steps = std::min(kPanel, left_.size(0));
      for (int64_t s = 0; s < steps; ++s) {
        const int64_t j = Step(s);
        score[left_[j].item<int64_t>()] = dearest_;
      }
      EndPanel(steps);
    }
    return score;
  }

 private:
  void StartPanel() {
    const int64_t n = left_.size(0);
    v_ = at::empty({kPanel, n}, at::kDouble);
    a_ = at::empty({kPanel, n}, at::kDouble);
    b_ = at::empty({kPanel, n}, at::kDouble);
    inverse_diagonal_ = inverse_.diagonal().clone();
    output_diagonal_ = output_.diagonal().clone();
    gone_ = at::zeros({n}, at::kDouble);
  }

  int64_t Step(int64_t s) {
    const Tensor costs = output_diagonal_.clamp_min(0).div_(inverse_diagonal_).mul_(factors_).add_(gone_);
    const auto j = costs.argmin().item<int64_t>();
    dearest_ = std::max(dearest_, costs[j].item<double>());
    Tensor h = inverse_[j].clone(), p = output_[j].clone();  // [n]
    if (s > 0) {
      const Tensor v = v_.narrow(0, 0, s), a = a_.narrow(0, 0, s), b = b_.narrow(0, 0, s);
      h.addmv_(v.t(), v.select(1, j), 1, -1);
      p.addmv_(b.t(), a.select(1, j), 1, -1).addmv_(a.t(), b.select(1, j), 1, -1);
    }
    const double pivot = h[j].item<double>();
    b_[s].copy_(h).div_(pivot);
    v_[s].copy_(h).div_(std::sqrt(pivot));
    a_[s].copy_(p).add_(b_[s], -p[j].item<double>() / 2);
    inverse_diagonal_.addcmul_(v_[s], v_[s], -1);
    output_diagonal_.addcmul_(a_[s], b_[s], -2);
    gone_[j] = kInfinity;
    inverse_diagonal_[j] = 1;
    return j;
  }

  // Applies the panel to what is left, and forgets the columns that went.
  void EndPanel(int64_t steps) {
    const Tensor stay = gone_.eq(0).nonzero().squeeze(1);
    const auto rows = [&](const Tensor& panel) { return panel.narrow(0, 0, steps).index_select(1, stay); };
    const auto kept = [&](const Tensor& matrix) { return matrix.index_select(0, stay).index_select(1, stay); };
    const Tensor v = rows(v_), a = rows(a_), b = rows(b_);
    inverse_ = kept(inverse_).addmm_(v.t(), v, 1, -1);
    output_ = kept(output_).addmm_(a.t(), b, 1, -1).addmm_(b.t(), a, 1, -1);
    factors_ = factors_.index_select(0, stay);
    left_ = left_.index_select(0, stay);
  }

  Tensor inverse_, output_, factors_, left_;
  Tensor v_, a_, b_;  // [kPanel, n]
  Tensor inverse_diagonal_, output_diagonal_, gone_;
  double dearest_ = 0;
};

}  // namespace

Tensor RemovalCosts(const RemovalSystem& system, const std::vector<std::vector<int64_t>>& columns,
                    const Tensor& factors) {
  if (columns.empty()) return at::empty({0}, at::kDouble);
  const Batch batch = BatchOf(columns);
  Tensor costs;
  if (SingleColumns(columns)) {
    const Tensor of = batch.columns.squeeze(1);
    costs = system.output.diagonal().index_select(0, of) / system.inverse.diagonal().index_select(0, of);
  } else {
    costs = TracesOfQuotient(DiagonalBlocks(system.inverse, batch, 1), DiagonalBlocks(system.output, batch, 0));
  }
  costs.clamp_min_(0);
  return factors.defined() ? costs * factors : costs;
}

Tensor GreedyRemovalCosts(const RemovalSystem& system, const std::vector<std::vector<int64_t>>& columns,
                          const Tensor& factors) {
  if (columns.empty()) return at::empty({0}, at::kDouble);
  if (!SingleColumns(columns)) return GreedyGroups({system.inverse.clone(), system.output.clone()}, columns, factors);
  const Tensor of = BatchOf(columns).columns.squeeze(1);  // inputs that no unit owns stay
  const auto among = [&](const Tensor& matrix) { return matrix.index_select(0, of).index_select(1, of); };
  return GreedyColumns({among(system.inverse), among(system.output)}, factors).Run();
}

}  // namespace espalier
