#include "espalier/model/head_layout.h"

#include <ATen/ATen.h>

#include <numeric>

#include "espalier/core/error.h"

namespace espalier {
namespace {

std::vector<int64_t> Dimensions(const std::vector<std::vector<int64_t>>& kept, int64_t group, int64_t D) {
  if (!kept.empty()) return kept.at(static_cast<size_t>(group));
  std::vector<int64_t> all(static_cast<size_t>(D));
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

int64_t Width(const std::vector<std::vector<int64_t>>& kept, int64_t group, int64_t D) {
  return kept.empty() ? D : static_cast<int64_t>(kept.at(static_cast<size_t>(group)).size());
}

// Firsts of `count` runs, and the end.
template <class WidthOf>
std::vector<int64_t> Firsts(int64_t count, const WidthOf& width) {
  std::vector<int64_t> firsts = {0};
  for (int64_t i = 0; i < count; ++i) firsts.push_back(firsts.back() + width(i));
  return firsts;
}

Run RunAt(const std::vector<int64_t>& firsts, int64_t i) {
  const int64_t first = firsts.at(static_cast<size_t>(i));
  return {first, firsts.at(static_cast<size_t>(i) + 1) - first};
}

template <class DimensionsOf>
std::vector<int64_t> Places(int64_t count, int64_t D, const DimensionsOf& dimensions) {
  std::vector<int64_t> places;
  for (int64_t i = 0; i < count; ++i)
    for (const int64_t d : dimensions(i)) places.push_back(i * D + d);
  return places;
}

}  // namespace

HeadLayout::HeadLayout(const BlockConfig& block, int64_t D)
    : block_(block), D_(D), heads_of_(static_cast<size_t>(block.G)) {
  const auto group_of = [&](int64_t head) { return block.kv_of_head.at(static_cast<size_t>(head)); };
  query_ = Firsts(block.H, [&](int64_t head) { return Width(block.qk_dims, group_of(head), D); });
  output_ = Firsts(block.H, [&](int64_t head) { return Width(block.value_channels, group_of(head), D); });
  key_ = Firsts(block.G, [&](int64_t group) { return Width(block.qk_dims, group, D); });
  value_ = Firsts(block.G, [&](int64_t group) { return Width(block.value_channels, group, D); });
  for (int64_t head = 0; head < block.H; ++head) heads_of_.at(static_cast<size_t>(group_of(head))).push_back(head);
}

Run HeadLayout::Query(int64_t head) const {
  return RunAt(query_, head);
}
Run HeadLayout::Key(int64_t group) const {
  return RunAt(key_, group);
}
Run HeadLayout::Value(int64_t group) const {
  return RunAt(value_, group);
}
Run HeadLayout::Output(int64_t head) const {
  return RunAt(output_, head);
}

std::vector<int64_t> HeadLayout::ValueDimensions(int64_t group) const {
  return Dimensions(block_.value_channels, group, D_);
}
std::vector<int64_t> HeadLayout::QkDimensions(int64_t group) const {
  return Dimensions(block_.qk_dims, group, D_);
}

std::vector<int64_t> HeadLayout::QueryPlaces() const {
  return Places(block_.H, D_, [&](int64_t head) { return QkDimensions(block_.kv_of_head[static_cast<size_t>(head)]); });
}
std::vector<int64_t> HeadLayout::KeyPlaces() const {
  return Places(block_.G, D_, [&](int64_t group) { return QkDimensions(group); });
}
std::vector<int64_t> HeadLayout::ValuePlaces() const {
  return Places(block_.G, D_, [&](int64_t group) { return ValueDimensions(group); });
}
std::vector<int64_t> HeadLayout::OutputPlaces() const {
  return Places(block_.H, D_,
                [&](int64_t head) { return ValueDimensions(block_.kv_of_head[static_cast<size_t>(head)]); });
}

at::Tensor Spread(const at::Tensor& y, const std::vector<int64_t>& places, int64_t width) {
  std::vector<int64_t> shape = y.sizes().vec();
  shape.back() = width;
  return at::zeros(shape, y.options()).index_copy(-1, at::tensor(places, at::kLong).to(y.device()), y);
}

at::Tensor WholeHeads(const BlockConfig& block, int64_t D, const at::Tensor& y) {
  if (block.value_channels.empty()) return y;
  return Spread(y, HeadLayout(block, D).OutputPlaces(), block.H * D);
}

std::vector<std::pair<int64_t, int64_t>> QkPairs(const ModelConfig& config, const BlockConfig& block) {
  const int64_t rotated = config.RopeOf(block).rotated, R = rotated > 0 ? rotated : config.D;
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (int64_t d = 0; d < R / 2; ++d) pairs.emplace_back(d, d + R / 2);
  for (int64_t d = R; d + 1 < config.D; d += 2) pairs.emplace_back(d, d + 1);
  return pairs;
}

}  // namespace espalier
