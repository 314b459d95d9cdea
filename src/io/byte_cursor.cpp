#include "byte_cursor.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "espalier/core/error.h"

namespace espalier {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied from the file as they are");

constexpr uint64_t kPieceBytes = uint64_t{1} << 16;  // one system call for thousands of short strings

}  // namespace

void ByteCursor::Fail(const std::string& text) const {
  throw IoError(fmt::format("{}: byte {}: {}", file_.path().string(), position_, text));
}

std::string ByteCursor::Text(uint64_t bytes, const char* what) {
  if (bytes > bytes_left()) Fail(fmt::format("{} of {} bytes, but only {} follow", what, bytes, bytes_left()));
  std::string text(bytes, '\0');
  Copy(text.data(), bytes, what);
  return text;
}

void ByteCursor::Copy(void* out, uint64_t bytes, const char* what) {
  if (bytes > bytes_left())
    Fail(fmt::format("the file ends inside {}: {} bytes expected, {} left", what, bytes, bytes_left()));
  auto* target = static_cast<std::byte*>(out);
  while (bytes > 0) {
    if (position_ - buffer_start_ >= buffer_.size()) {
      buffer_start_ = position_;
      buffer_.resize(std::min(kPieceBytes, bytes_left()));
      file_.Read(buffer_start_, buffer_);
    }
    const uint64_t begin = position_ - buffer_start_;
    const uint64_t count = std::min<uint64_t>(bytes, buffer_.size() - begin);
    std::memcpy(target, buffer_.data() + begin, count);
    target += count, position_ += count, bytes -= count;
  }
}

}  // namespace espalier
