#pragma once
// Reads a file forwards in small pieces, and never takes memory for bytes that are not there.
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "espalier/core/files.h"

namespace espalier {

class ByteCursor {
 public:
  // Nothing at or beyond `limit` is read; the limit is at most the size of the file.
  ByteCursor(const RandomAccessFile& file, uint64_t limit) : file_(file), limit_(limit) {}

  uint64_t position() const { return position_; }
  uint64_t bytes_left() const { return limit_ - position_; }

  // A little-endian number. `what` is named when the file ends before it.
  template <class T>
  T Number(const char* what) {
    static_assert(std::is_arithmetic_v<T>);
    T value{};
    Copy(&value, sizeof(T), what);
    return value;
  }
  // The caller has checked `bytes` against its own bounds; here it is checked against what is left, before allocating.
  std::string Text(uint64_t bytes, const char* what);

  // IoError: "<file>: byte <position>: <text>".
  [[noreturn]] void Fail(const std::string& text) const;

 private:
  void Copy(void* out, uint64_t bytes, const char* what);

  const RandomAccessFile& file_;
  uint64_t limit_;
  uint64_t position_ = 0;
  std::vector<std::byte> buffer_;  // file bytes from buffer_start_
  uint64_t buffer_start_ = 0;
};

}  // namespace espalier
