#include "mixture.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/random.h"

namespace espalier {
namespace {

constexpr uint64_t kOrderStream = 1;  // of the random numbers; 0 packs the windows
constexpr uint64_t kTextStreams = uint64_t{1} << 32;
constexpr double kGoldenRatio = 0.6180339887498949;

}  // namespace

Mixture::Mixture(const std::vector<TrainingText>& texts, int64_t held_out, uint64_t seed)
    : held_out_(held_out), seed_(seed), drawn_(texts.size(), 0) {
  std::vector<at::Tensor> windows;
  double weights = 0;
  for (const TrainingText& text : texts) weights += text.weight;
  int64_t first = 0;
  for (const TrainingText& text : texts) {
    const int64_t count = text.windows.size(0);
    if (count <= held_out)
      throw RecipeError(fmt::format(
          "heal: text {} of {} has {} windows of {} tokens, of which {} are held out; expected more, so use more text, "
          "shorter windows or fewer validation_windows",
          parts_.size() + 1, texts.size(), count, text.windows.size(1), held_out));
    parts_.push_back({first, count - held_out, text.weight / weights});
    windows.push_back(text.windows);
    first += count;
  }
  all_ = windows.size() == 1 ? windows.front() : at::cat(windows);
}

std::vector<int64_t> Mixture::Rows(int64_t first, int64_t count) {
  if (first < next_) next_ = 0, std::ranges::fill(drawn_, 0);
  std::vector<int64_t> rows;
  for (; next_ < first + count; ++next_) {
    const size_t part = PartOf(next_);
    if (next_ >= first) rows.push_back(Row(part, drawn_[part]));
    ++drawn_[part];
  }
  return rows;
}

std::vector<int64_t> Mixture::Training() const {
  std::vector<int64_t> rows;
  for (const Part& part : parts_)
    for (int64_t row = 0; row < part.training; ++row) rows.push_back(part.first + row);
  return rows;
}

at::Tensor Mixture::Windows(const std::vector<int64_t>& rows) const {
  return all_.index_select(0, at::tensor(rows, at::kLong));
}

size_t Mixture::PartOf(int64_t sample) const {
  double whole = 0, place = std::modf(static_cast<double>(sample) * kGoldenRatio, &whole);
  for (size_t part = 0; part + 1 < parts_.size(); ++part) {
    if (place < parts_[part].share) return part;
    place -= parts_[part].share;
  }
  return parts_.size() - 1;
}

int64_t Mixture::Row(size_t part, int64_t k) {
  Part& text = parts_[part];
  const int64_t pass = k / text.training;
  if (text.order.first != pass)
    text.order = {pass,
                  RandomOrder(text.training, seed_, kOrderStream + static_cast<uint64_t>(pass) + kTextStreams * part)};
  return text.first + text.order.second[static_cast<size_t>(k % text.training)];
}

}  // namespace espalier
