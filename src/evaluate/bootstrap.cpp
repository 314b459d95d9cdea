#include "espalier/evaluate/bootstrap.h"

#include <fmt/format.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>
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
double ResampleBlocks(const std::vector<double>& prefix, size_t block, uint64_t seed, uint64_t resample) {
  const size_t count = prefix.size() - 1;
  double sum = 0;
  for (size_t filled = 0, draw = 0; filled < count; filled += block, ++draw) {
    const size_t length = std::min(block, count - filled);
    const size_t start = RandomBelow(count - block + 1, seed, resample, draw);
    sum += prefix[start + length] - prefix[start];
  }
  return sum / static_cast<double>(count);
}

// As many documents as there are, with their values: a mean over values, so that long documents count for more.
double ResampleDocuments(const std::vector<double>& prefix, std::span<const int64_t> documents, uint64_t seed,
                         uint64_t resample) {
  double sum = 0;
  size_t values = 0;
  for (size_t draw = 0; draw < documents.size(); ++draw) {
    const size_t document = RandomBelow(documents.size(), seed, resample, draw);
    const auto first = static_cast<size_t>(documents[document]);
    const size_t last =
        document + 1 < documents.size() ? static_cast<size_t>(documents[document + 1]) : prefix.size() - 1;
    sum += prefix[last] - prefix[first];
    values += last - first;
  }
  return values == 0 ? 0 : sum / static_cast<double>(values);
}

void CheckDocuments(std::span<const int64_t> documents, size_t values) {
  if (documents.size() < kMinValues)
    throw ShapeError(
        fmt::format("bootstrap: {} documents; an interval needs at least {}", documents.size(), kMinValues));
  bool ascending = documents.front() == 0 && documents.back() < static_cast<int64_t>(values);
  for (size_t i = 1; i < documents.size(); ++i) ascending = ascending && documents[i - 1] < documents[i];
  if (!ascending)
    throw ShapeError(fmt::format("bootstrap: documents must start at 0 and ascend below {} values", values));
}

// Quantile with linear interpolation between order statistics (Hyndman and Fan 1996, type 7). `sorted` not empty.
double Quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

// A bootstrap of few independent parts is too narrow: their variance about their own mean is (m - 1) / m of the true
// one, and a normal quantile stands where Student's belongs. Both are put right here, so that 8 blocks cover as 800 do
// (tests/evaluate/bootstrap_test.cpp).
double FewPartsFactor(double parts, double confidence) {
  const double upper = (1 + confidence) / 2;
  return std::sqrt(parts / (parts - 1)) * quantile(boost::math::students_t(parts - 1), upper) /
         quantile(boost::math::normal(), upper);
}

}  // namespace

BootstrapDistribution::BootstrapDistribution(double mean, std::vector<double> means)
    : mean_(mean), means_(std::move(means)) {
  std::sort(means_.begin(), means_.end());
}

Interval BootstrapDistribution::Percentile(double confidence) const {
  const double tail = (1 - confidence) / 2;
  return {mean_, Quantile(means_, tail), Quantile(means_, 1 - tail)};
}

double BootstrapDistribution::ProbabilityBelow(double limit) const {
  const auto below = std::upper_bound(means_.begin(), means_.end(), limit) - means_.begin();
  return static_cast<double>(below + 1) / static_cast<double>(means_.size() + 1);
}

double BootstrapDistribution::ProbabilityAbove(double limit) const {
  const auto above = means_.end() - std::lower_bound(means_.begin(), means_.end(), limit);
  return static_cast<double>(above + 1) / static_cast<double>(means_.size() + 1);
}

BootstrapDistribution Bootstrap(std::span<const float> values, const BootstrapOptions& options) {
  CheckOptions(options);
  if (values.size() < kMinValues)
    throw ShapeError(fmt::format("bootstrap: {} values; an interval needs at least {}", values.size(), kMinValues));
  if (!options.documents.empty()) CheckDocuments(options.documents, values.size());
  const std::vector<double> prefix = PrefixSums(values);
  const size_t block = std::min(static_cast<size_t>(options.block), values.size() / 4);
  std::vector<double> means(static_cast<size_t>(options.resamples));
  tbb::parallel_for(tbb::blocked_range<size_t>(0, means.size()), [&](const tbb::blocked_range<size_t>& range) {
    for (size_t i = range.begin(); i < range.end(); ++i)
      means[i] = options.documents.empty() ? ResampleBlocks(prefix, block, options.seed, i)
                                           : ResampleDocuments(prefix, options.documents, options.seed, i);
  });
  const double mean = prefix.back() / static_cast<double>(values.size());
  const double parts = options.documents.empty() ? static_cast<double>(values.size()) / static_cast<double>(block)
                                                 : static_cast<double>(options.documents.size());
  const double factor = FewPartsFactor(parts, options.confidence);
  for (double& resampled : means) resampled = mean + (resampled - mean) * factor;
  return {mean, std::move(means)};
}

Interval BootstrapMean(std::span<const float> values, const BootstrapOptions& options) {
  return Bootstrap(values, options).Percentile(options.confidence);
}

Interval BootstrapExpMean(std::span<const float> values, const BootstrapOptions& options) {
  const Interval interval = BootstrapMean(values, options);
  return {std::exp(interval.mean), std::exp(interval.low), std::exp(interval.high)};
}

std::vector<double> HolmAdjusted(const std::vector<double>& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, static_cast<double>(p.size() - rank) * p[order[rank]]);
    adjusted[order[rank]] = std::min(1.0, largest);
  }
  return adjusted;
}

}  // namespace espalier
