#pragma once
// Arithmetic and messages for numbers and names that a file claims and nobody vouches for.
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace espalier {

constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();

// none: the product does not fit int64. Both factors must not be negative.
std::optional<int64_t> CheckedProduct(int64_t a, int64_t b);

// Elements of a shape without negative entries. none: the product of its non-zero entries does not fit int64, so that
// the strides of an empty tensor are safe to compute too.
std::optional<int64_t> ElementCount(std::span<const int64_t> shape);

// For messages: 'name' in at most about 100 characters, everything but printable ASCII as \xNN: one line, whatever it
// held.
std::string Quote(std::string_view name);
// "[2, 3]"
std::string ShapeText(std::span<const int64_t> shape);

}  // namespace espalier
