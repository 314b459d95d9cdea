#include "espalier/io/utf8.h"

#include <cstdint>
#include <cstring>

namespace espalier {
namespace {

bool IsContinuation(unsigned char byte) {
  return (byte & 0xC0) == 0x80;
}

// Bytes that a lead byte announces; 0 for one that may not lead (C0, C1 and F5 up are overlong or beyond U+10FFFF).
int SequenceLength(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// The second byte is what excludes overlong forms, surrogates and values beyond U+10FFFF (table 3-7).
bool SecondFits(unsigned char lead, unsigned char second) {
  if (lead == 0xE0) return second >= 0xA0 && second <= 0xBF;
  if (lead == 0xED) return second >= 0x80 && second <= 0x9F;
  if (lead == 0xF0) return second >= 0x90 && second <= 0xBF;
  if (lead == 0xF4) return second >= 0x80 && second <= 0x8F;
  return IsContinuation(second);
}

struct Sequence {
  size_t bytes;  // of the valid sequence, or of the maximal invalid subpart
  bool valid;
};

Sequence SequenceAt(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const int length = SequenceLength(byte(at));
  if (length <= 1) return {1, length == 1};
  for (int i = 1; i < length; ++i) {
    if (at + i >= text.size()) return {static_cast<size_t>(i), false};
    const bool fits = i == 1 ? SecondFits(byte(at), byte(at + 1)) : IsContinuation(byte(at + i));
    if (!fits) return {static_cast<size_t>(i), false};
  }
  return {static_cast<size_t>(length), true};
}

// Most text is ASCII: eight bytes at once.
size_t SkipAscii(std::string_view text, size_t at) {
  while (at + 8 <= text.size()) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, sizeof(word));
    if (word & 0x8080808080808080ull) break;
    at += 8;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

}  // namespace

size_t FirstInvalidUtf8(std::string_view text) {
  for (size_t at = SkipAscii(text, 0); at < text.size(); at = SkipAscii(text, at)) {
    const Sequence sequence = SequenceAt(text, at);
    if (!sequence.valid) return at;
    at += sequence.bytes;
  }
  return text.size();
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t bad = at + FirstInvalidUtf8(text.substr(at));
    out.append(text, at, bad - at);
    if (bad == text.size()) break;
    out += "\xEF\xBF\xBD";
    at = bad + SequenceAt(text, bad).bytes;
  }
  return out;
}

char32_t NextCodePoint(std::string_view text, size_t& at) {
  const unsigned char lead = static_cast<unsigned char>(text[at]);
  const int length = SequenceLength(lead);
  char32_t value = length == 1 ? lead : lead & (0x7F >> length);
  for (int i = 1; i < length; ++i) value = value << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3F);
  at += length;
  return value;
}

char32_t PreviousCodePoint(std::string_view text, size_t& at) {
  do --at;
  while (at > 0 && IsContinuation(static_cast<unsigned char>(text[at])));
  size_t from = at;
  return NextCodePoint(text, from);
}

void AppendUtf8(char32_t c, std::string& out) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    tail(12), tail(6), tail(0);
  }
}

}  // namespace espalier
