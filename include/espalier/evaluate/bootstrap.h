#pragma once
// Intervals for means of dependent values: the moving-block bootstrap (Kuensch 1989), percentile interval.
#include <cstdint>
#include <span>

namespace espalier {

struct Interval {
  double mean = 0, low = 0, high = 0;
};

struct BootstrapOptions {
  int64_t block = 512;  // values; neighbouring tokens depend on each other. Shortened to a quarter of few values
  int64_t resamples = 2000;
  double confidence = 0.95;
  uint64_t seed = 0;
};

// Interval of the mean of `values` (per-token NLL, or paired differences of it), which are in text order. Counter-based
// random numbers: the same result with any number of threads (oneTBB). NumericError when a value is not finite;
// ShapeError when there are fewer than 8 values.
Interval BootstrapMean(std::span<const float> values, const BootstrapOptions& options = {});
// Interval of exp(mean(values)): perplexity from NLL, or the perplexity ratio from paired NLL differences.
Interval BootstrapExpMean(std::span<const float> values, const BootstrapOptions& options = {});

}  // namespace espalier
