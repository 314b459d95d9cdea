#include "white_space.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

namespace espalier {

// Unicode's and the four separators of ASCII.
bool IsWhiteSpace(int32_t c) {
  return u_isUWhiteSpace(c) || (c >= 0x1C && c <= 0x1F);
}

size_t LeadingWhiteSpace(std::string_view text) {
  int32_t at = 0;
  while (at < static_cast<int32_t>(text.size())) {
    int32_t next = at;
    UChar32 c;
    U8_NEXT(text.data(), next, static_cast<int32_t>(text.size()), c);
    if (c < 0 || !IsWhiteSpace(c)) break;
    at = next;
  }
  return static_cast<size_t>(at);
}
size_t TrailingWhiteSpace(std::string_view text) {
  auto at = static_cast<int32_t>(text.size());
  while (at > 0) {
    int32_t before = at;
    UChar32 c;
    U8_PREV(text.data(), 0, before, c);
    if (c < 0 || !IsWhiteSpace(c)) break;
    at = before;
  }
  return static_cast<size_t>(at);
}

std::string_view Strip(std::string_view text) {
  text.remove_prefix(LeadingWhiteSpace(text));
  return text.substr(0, TrailingWhiteSpace(text));
}

}  // namespace espalier
