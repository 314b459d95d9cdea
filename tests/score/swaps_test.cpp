#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/score/removal.h"
#include "support/support.h"

namespace espalier {
namespace {

using at::Tensor;
using Columns = std::vector<int64_t>;

struct Problem {
  Tensor h, p;
};

Problem Random(uint64_t seed, int64_t n) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const Tensor a = at::empty({n, 2 * n}, at::kDouble).normal_(0, 1, generator);
  const Tensor w = at::empty({3, n}, at::kDouble).normal_(0, 1, generator);
  return {a.matmul(a.t()) / static_cast<double>(n) + 0.05 * at::eye(n, at::kDouble), w.t().matmul(w)};
}

// tr(([H^-1]_RR)^-1 P_RR), by two inversions.
double Cost(const Problem& problem, const Columns& removed) {
  const Tensor r = at::tensor(removed, at::kLong);
  const auto among = [&](const Tensor& matrix) { return matrix.index_select(0, r).index_select(1, r); };
  return (at::linalg_inv(among(at::linalg_inv(problem.h))) * among(problem.p)).sum().item<double>();
}

// The best exchange of a removed and a kept column, by trying all; the cost of it.
double BestExchange(const Problem& problem, Columns& removed, const Columns& held) {
  double least = std::numeric_limits<double>::infinity();
  Columns best;
  for (size_t r = 0; r < removed.size(); ++r)
    for (int64_t k = 0; k < problem.h.size(0); ++k) {
      if (std::count(removed.begin(), removed.end(), k) + std::count(held.begin(), held.end(), k) > 0) continue;
      Columns trial = removed;
      trial[r] = k;
      if (const double cost = Cost(problem, trial); cost < least) least = cost, best = trial;
    }
  std::sort(best.begin(), best.end());
  removed = best;
  return least;
}

TEST(SearchSwaps, MakesTheExchangesOfBruteForceUntilNoneLowersTheCost) {
  int64_t made = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed)
    for (const Columns& held : {Columns{}, Columns{2, 6}}) {
      const Problem problem = Random(seed, 8);
      Columns removed = {0, 1, 5};
      double cost = Cost(problem, removed);
      const SwapResult found = SearchSwaps(problem.h, problem.p, removed, held, 100);
      EXPECT_NEAR(found.before / cost, 1, 1e-9);
      int64_t exchanges = 0;
      for (;; ++exchanges) {
        Columns next = removed;
        const double best = BestExchange(problem, next, held);
        if (best >= cost * (1 - 1e-9)) break;
        removed = next, cost = best;
      }
      EXPECT_EQ(found.removed, removed) << seed;
      EXPECT_EQ(found.exchanges, exchanges);
      EXPECT_NEAR(found.after / cost, 1, 1e-9);
      for (const int64_t column : held) EXPECT_EQ(std::count(found.removed.begin(), found.removed.end(), column), 0);
      made += exchanges;
    }
  EXPECT_GT(made, 20);
}

TEST(SearchSwaps, StopsAtTheMostThatItMayMake) {
  const Problem problem = Random(3, 8);
  Columns removed = {0, 1, 5};
  const SwapResult none = SearchSwaps(problem.h, problem.p, removed, {}, 0);
  EXPECT_EQ(none.removed, removed);
  EXPECT_EQ(none.before, none.after);
  BestExchange(problem, removed, {});
  EXPECT_EQ(SearchSwaps(problem.h, problem.p, {0, 1, 5}, {}, 1).removed, removed);
}

TEST(SearchSwaps, LeavesASearchWithoutAChoiceAlone) {
  const Problem problem = Random(1, 4);
  EXPECT_EQ(SearchSwaps(problem.h, problem.p, {}, {}, 5).exchanges, 0);
  EXPECT_EQ(SearchSwaps(problem.h, problem.p, {3, 1, 0, 2}, {}, 5).removed, (Columns{0, 1, 2, 3}));
  EXPECT_EQ(SearchSwaps(problem.h, problem.p, {1}, {0, 2, 3}, 5).removed, (Columns{1}));
}

TEST(SearchSwaps, SaysThatACovarianceIsNotPositiveDefinite) {
  const Tensor h = at::tensor({1.0, 2.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 1.0}, at::kDouble).view({3, 3});
  EXPECT_NE(MessageOf([&] {
              SearchSwaps(h, at::eye(3, at::kDouble), {2}, {}, 1);
            }).find("2 kept inputs is not positive definite at row 2"),
            std::string::npos);
  EXPECT_THROW(SearchSwaps(h, at::eye(3, at::kDouble), {2}, {}, 1), NumericError);
}

}  // namespace
}  // namespace espalier
