#include "espalier/heal/bigram_backcopy.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/core/random.h"

namespace espalier {
namespace {

constexpr int64_t kBos = 256;
constexpr uint64_t kStreams = uint64_t{1} << 33;  // of random numbers; below: what training draws

// Counts of the bytes that may follow one another, as cumulative sums.
class Chain {
 public:
  Chain(const std::string& text, const BigramBackcopyOptions& options) : counts_(256), start_(256, 0) {
    std::array<int64_t, 256> frequency{};
    for (const char c : text) ++frequency[static_cast<unsigned char>(c)];
    std::vector<int64_t> order(256);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater<>(),
                             [&](int64_t byte) { return frequency[static_cast<size_t>(byte)]; });
    if (frequency[static_cast<size_t>(order[static_cast<size_t>(options.symbols - 1)])] == 0)
      throw RecipeError(fmt::format("bigram_backcopy: the text has fewer than {} different bytes; lower data.symbols",
                                    options.symbols));
    std::array<bool, 256> is_symbol{};
    for (int64_t i = 0; i < options.symbols; ++i) is_symbol[static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
    for (int64_t i = 0; i < options.triggers; ++i) {
      triggers_.push_back(order[static_cast<size_t>(i)]);
      is_trigger_[static_cast<size_t>(triggers_.back())] = true;
    }
    for (std::vector<double>& row : counts_) row.assign(256, 0);
    for (size_t i = 0; i + 1 < text.size(); ++i) {
      const auto a = static_cast<unsigned char>(text[i]), b = static_cast<unsigned char>(text[i + 1]);
      if (is_symbol[a] && is_symbol[b]) ++counts_[a][b];
    }
    for (size_t byte = 0; byte < 256; ++byte)
      if (is_symbol[byte] && !is_trigger_[byte]) start_[byte] = static_cast<double>(frequency[byte]);
    for (std::vector<double>& row : counts_)
      if (std::accumulate(row.begin(), row.end(), 0.0) == 0) row = start_;  // a symbol that ends the text
  }

  bool IsTrigger(int64_t byte) const { return is_trigger_[static_cast<size_t>(byte)]; }
  const std::vector<int64_t>& triggers() const { return triggers_; }
  const std::vector<double>& After(int64_t byte) const { return counts_[static_cast<size_t>(byte)]; }
  const std::vector<double>& start() const { return start_; }

 private:
  std::vector<std::vector<double>> counts_;  // [256][256]
  std::vector<double> start_;
  std::array<bool, 256> is_trigger_{};
  std::vector<int64_t> triggers_;
};

struct Drawn {
  int64_t byte = 0;
  double loss = 0;
};
Drawn Draw(const std::vector<double>& counts, double uniform) {
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  double left = uniform * total;
  int64_t last = 0;
  for (int64_t byte = 0; byte < 256; ++byte) {
    const double count = counts[static_cast<size_t>(byte)];
    if (count == 0) continue;
    last = byte;
    if (left < count) break;
    left -= count;
  }
  return {last, -std::log(counts[static_cast<size_t>(last)] / total)};
}

}  // namespace

BigramBackcopy MakeBigramBackcopy(const std::string& text, const BigramBackcopyOptions& options) {
  if (options.triggers >= options.symbols)
    throw RecipeError(
        fmt::format("bigram_backcopy: {} triggers of {} symbols; expected fewer", options.triggers, options.symbols));
  const Chain chain(text, options);
  BigramBackcopy made{at::empty({options.sequences, options.length}, at::kLong),
                      at::zeros({options.sequences}, at::kDouble), chain.triggers()};
  int64_t* ids = made.windows.data_ptr<int64_t>();
  double* loss = made.optimal_loss.data_ptr<double>();
  for (int64_t s = 0; s < options.sequences; ++s, ids += options.length) {
    ids[0] = kBos;
    for (int64_t t = 1; t < options.length; ++t) {
      if (t > 1 && chain.IsTrigger(ids[t - 1])) {
        ids[t] = ids[t - 2];
        continue;
      }
      const double uniform = RandomUnit(options.seed, kStreams + static_cast<uint64_t>(s), static_cast<uint64_t>(t));
      const Drawn drawn = Draw(t == 1 ? chain.start() : chain.After(ids[t - 1]), uniform);
      ids[t] = drawn.byte;
      loss[s] += drawn.loss / static_cast<double>(options.length - 1);
    }
  }
  return made;
}

}  // namespace espalier
