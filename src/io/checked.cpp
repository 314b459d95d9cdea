#include "checked.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace espalier {
namespace {

constexpr size_t kShownBytes = 96;  // names in real checkpoints stay below 80

}  // namespace

std::optional<int64_t> CheckedProduct(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

std::optional<int64_t> ElementCount(std::span<const int64_t> shape) {
  int64_t non_zero = 1;
  bool empty = false;
  for (const int64_t size : shape) {
    if (size == 0) empty = true;
    const std::optional<int64_t> product = CheckedProduct(non_zero, size == 0 ? 1 : size);
    if (!product) return std::nullopt;
    non_zero = *product;
  }
  return empty ? 0 : non_zero;
}

std::string Quote(std::string_view name) {
  std::string text = "'";
  for (const char c : name.substr(0, kShownBytes)) {
    if (c >= 0x20 && c < 0x7f) {
      text += c;
    } else {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  if (name.size() <= kShownBytes) return text + "'";
  return text + fmt::format("...' ({} bytes)", name.size());
}

std::string ShapeText(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace espalier
