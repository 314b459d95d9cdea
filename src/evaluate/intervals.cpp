#include "espalier/evaluate/intervals.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {

Interval WilsonInterval(int64_t successes, int64_t count, double confidence) {
  ESPALIER_CHECK(count > 0 && successes >= 0 && successes <= count, "a share needs a count");
  const double z = quantile(boost::math::normal(), (1 + confidence) / 2);
  const auto n = static_cast<double>(count);
  const double p = static_cast<double>(successes) / n;
  const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {p, std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

}  // namespace espalier
