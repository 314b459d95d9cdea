#pragma once
// Intervals and tests for means of dependent values: the moving-block bootstrap (Kuensch 1989), or one that draws whole
// documents (clusters; Miller 2024, arXiv 2411.00640), percentile interval.
#include <cstdint>
#include <span>
#include <vector>

namespace espalier {

struct Interval {
  double mean = 0, low = 0, high = 0;
};

struct BootstrapOptions {
  int64_t block = 512;  // values; neighbouring tokens depend on each other. Shortened to a quarter of few values
  int64_t resamples = 2000;
  double confidence = 0.95;
  uint64_t seed = 0;
  // First value of each document, ascending from 0: whole documents are drawn instead of blocks. Empty: blocks.
  std::span<const int64_t> documents = {};
};

// The mean of `values` and of every resample of them.
class BootstrapDistribution {
 public:
  BootstrapDistribution(double mean, std::vector<double> means);
  double mean() const { return mean_; }
  Interval Percentile(double confidence) const;
  // One-sided tests against `limit`: the share of resamples on the other side of it, never 0 (Davison and Hinkley
  // 1997, eq. 4.11: the sample counts as one more resample).
  double ProbabilityBelow(double limit) const;  // small: the mean is above the limit
  double ProbabilityAbove(double limit) const;  // small: the mean is below the limit

 private:
  double mean_;
  std::vector<double> means_;  // sorted
};

// Resampled means are spread by sqrt(m / (m - 1)) t / z about the mean, m the number of blocks or documents: without,
// an interval of 8 blocks covers 89 % instead of 95 %. `values` are per-token NLL, or paired differences of it, in text
// order. Counter-based random numbers: the same result with any number of threads (oneTBB). NumericError when a value
// is not finite; ShapeError when there are fewer than 8 values or 8 documents.
BootstrapDistribution Bootstrap(std::span<const float> values, const BootstrapOptions& options = {});

// Interval of the mean.
Interval BootstrapMean(std::span<const float> values, const BootstrapOptions& options = {});
// Interval of exp(mean(values)): perplexity from NLL, or the perplexity ratio from paired NLL differences.
Interval BootstrapExpMean(std::span<const float> values, const BootstrapOptions& options = {});

// Holm 1979: p-values of one family adjusted so that the chance of any false finding stays below the level; in the
// order given.
std::vector<double> HolmAdjusted(const std::vector<double>& p);

}  // namespace espalier
