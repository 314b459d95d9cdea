#include "espalier/core/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace espalier {
namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::string> NearestNames(std::string_view name, const std::vector<std::string>& names) {
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const std::string& known : names) {
    const size_t distance = EditDistance(name, known);
    const bool prefix = !name.empty() && (known.starts_with(name) || name.starts_with(known));
    if (prefix || distance * 2 <= std::max(name.size(), known.size()))
      ranked.emplace_back(prefix ? 0 : distance, known);
  }
  std::sort(ranked.begin(), ranked.end());
  if (ranked.size() > 3) ranked.resize(3);
  std::vector<std::string> nearest;
  for (auto& [distance, known] : ranked) nearest.push_back(std::move(known));
  return nearest;
}

std::string UnknownName(std::string_view what, std::string_view name, const std::vector<std::string>& known) {
  const std::vector<std::string> nearest = NearestNames(name, known);
  std::string text = fmt::format("unknown {} '{}'.", what, name);
  if (!nearest.empty()) text += fmt::format(" Nearest: {}.", fmt::join(nearest, ", "));
  return text + fmt::format(" Known: {}.", fmt::join(known, ", "));
}

void FailCheck(const char* condition, const char* file, int line, const std::string& message) {
  throw InternalError(fmt::format("{}:{}: check failed: {}: {}", file, line, condition, message));
}

}  // namespace espalier
