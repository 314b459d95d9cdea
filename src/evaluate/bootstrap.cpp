#include "espalier/evaluate/bootstrap.h"

#include <fmt/format.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/core/random.h"

namespace espalier {
namespace {

constexpr size_t kMinValues = 8;  // below, a resample of a quarter of the values says nothing

// prefix[i] = sum of the first i values, so that the sum of any block is one subtraction. [N + 1]
std::vector<double> PrefixSums(std::span<const float> values) {
  std::vector<double> prefix(values.size() + 1, 0.0);
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]))
      throw NumericError(fmt::format("bootstrap: value {} of {} is {}; expected finite values only", i, values.size(),
                                     static_cast<double>(values[i])));
    prefix[i + 1] = prefix[i] + static_cast<double>(values[i]);
  }
  return prefix;
}

void CheckOptions(const BootstrapOptions& options) {
  if (options.block < 1 || options.resamples < 1 || !(options.confidence > 0 && options.confidence < 1))
    throw RecipeError(
        fmt::format("bootstrap: block {} and resamples {} must be at least 1, confidence {} above 0 and "
                    "below 1",
                    options.block, options.resamples, options.confidence));
}

// Mean of one resample: blocks from uniform places, the last one cut so that a resample has as many values as the
// sample.
double ResampleMean(const std::vector<double>& prefix, size_t block, uint64_t seed, uint64_t resample) {
  const size_t count = prefix.size() - 1;
  double sum = 0;
  for (size_t filled = 0, draw = 0; filled < count; filled += block, ++draw) {
    const size_t length = std::min(block, count - filled);
    const size_t start = RandomBelow(count - block + 1, seed, resample, draw);
    sum += prefix[start + length] - prefix[start];
  }
  return sum / static_cast<double>(count);
}

// Quantile with linear interpolation between order statistics (Hyndman and Fan 1996, type 7). `sorted` not empty.
double Quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

Interval BootstrapMean(std::span<const float> values, const BootstrapOptions& options) {
  CheckOptions(options);
  if (values.size() < kMinValues)
    throw ShapeError(fmt::format("bootstrap: {} values; an interval needs at least {}", values.size(), kMinValues));
  const std::vector<double> prefix = PrefixSums(values);
  const size_t block = std::min(static_cast<size_t>(options.block), values.size() / 4);
  std::vector<double> means(static_cast<size_t>(options.resamples));
  tbb::parallel_for(tbb::blocked_range<size_t>(0, means.size()), [&](const tbb::blocked_range<size_t>& range) {
    for (size_t i = range.begin(); i < range.end(); ++i) means[i] = ResampleMean(prefix, block, options.seed, i);
  });
  std::sort(means.begin(), means.end());
  const double tail = (1 - options.confidence) / 2;
  return {prefix.back() / static_cast<double>(values.size()), Quantile(means, tail), Quantile(means, 1 - tail)};
}

Interval BootstrapExpMean(std::span<const float> values, const BootstrapOptions& options) {
  const Interval interval = BootstrapMean(values, options);
  return {std::exp(interval.mean), std::exp(interval.low), std::exp(interval.high)};
}

}  // namespace espalier
