#include "espalier/io/unicode_classes.h"

#include <fmt/format.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <array>

#include "espalier/core/error.h"
#include "espalier/io/utf8.h"

namespace espalier {
namespace {

struct Range {
  char32_t first, last, shown;
};
constexpr char32_t kLetter3 = 0x4E00, kLetter4 = 0x20000, kNumber4 = 0x1D7CE, kFormat3 = 0x200B;
constexpr std::array kRanges = {
    Range{0x180E, 0x180E, kFormat3},   Range{0x1C89, 0x1C8A, kLetter3},   Range{0xA7CB, 0xA7CD, kLetter3},
    Range{0xA7DA, 0xA7DC, kLetter3},   Range{0x105C0, 0x105F3, kLetter4}, Range{0x10D40, 0x10D49, kNumber4},
    Range{0x10D4A, 0x10D65, kLetter4}, Range{0x10D6F, 0x10D85, kLetter4}, Range{0x10EC2, 0x10EC4, kLetter4},
    Range{0x1123F, 0x11240, kLetter4}, Range{0x11380, 0x11389, kLetter4}, Range{0x1138B, 0x1138B, kLetter4},
    Range{0x1138E, 0x1138E, kLetter4}, Range{0x11390, 0x113B5, kLetter4}, Range{0x113B7, 0x113B7, kLetter4},
    Range{0x113D1, 0x113D1, kLetter4}, Range{0x113D3, 0x113D3, kLetter4}, Range{0x116D0, 0x116E3, kNumber4},
    Range{0x11BC0, 0x11BE0, kLetter4}, Range{0x11BF0, 0x11BF9, kNumber4}, Range{0x11F02, 0x11F02, kLetter4},
    Range{0x11F04, 0x11F10, kLetter4}, Range{0x11F12, 0x11F33, kLetter4}, Range{0x11F50, 0x11F59, kNumber4},
    Range{0x1342F, 0x1342F, kLetter4}, Range{0x13441, 0x13446, kLetter4}, Range{0x13460, 0x143FA, kLetter4},
    Range{0x16100, 0x1611D, kLetter4}, Range{0x16130, 0x16139, kNumber4}, Range{0x16D40, 0x16D6C, kLetter4},
    Range{0x16D70, 0x16D79, kNumber4}, Range{0x18CFF, 0x18CFF, kLetter4}, Range{0x1B132, 0x1B132, kLetter4},
    Range{0x1B155, 0x1B155, kLetter4}, Range{0x1CCF0, 0x1CCF9, kNumber4}, Range{0x1D2C0, 0x1D2D3, kNumber4},
    Range{0x1DF25, 0x1DF2A, kLetter4}, Range{0x1E030, 0x1E06D, kLetter4}, Range{0x1E4D0, 0x1E4EB, kLetter4},
    Range{0x1E4F0, 0x1E4F9, kNumber4}, Range{0x1E5D0, 0x1E5ED, kLetter4}, Range{0x1E5F0, 0x1E5F0, kLetter4},
    Range{0x1E5F1, 0x1E5FA, kNumber4}, Range{0x2B739, 0x2B739, kLetter4}, Range{0x2EBF0, 0x2EE5D, kLetter4},
    Range{0x31350, 0x323AF, kLetter4},
};

// The normalizer of PyPI tokenizers has the tables of Unicode 9: characters that are younger neither compose nor move.
const icu::Normalizer2& Nfc() {
  static const icu::FilteredNormalizer2* normalizer = [] {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
    static icu::UnicodeSet known(u"[:age=9.0:]", status);
    if (U_FAILURE(status)) throw IoError(fmt::format("ICU has no data for NFC: {}", u_errorName(status)));
    known.freeze();
    return new icu::FilteredNormalizer2(*nfc, known);
  }();
  return *normalizer;
}

}  // namespace

char32_t StandIn(char32_t c) {
  const auto after = std::upper_bound(kRanges.begin(), kRanges.end(), c,
                                      [](char32_t value, const Range& range) { return value < range.first; });
  if (after == kRanges.begin()) return c;
  const Range& range = *std::prev(after);
  return c <= range.last ? range.shown : c;
}

bool MayNeedStandIns(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char byte) {
    const unsigned char lead = static_cast<unsigned char>(byte);
    return lead == 0xE1 || lead == 0xEA || lead == 0xF0;  // the lead bytes of all that is in the table
  });
}

void ReplaceByStandIns(std::string_view text, std::string& out) {
  out.clear();
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) AppendUtf8(StandIn(NextCodePoint(text, at)), out);
}

bool IsLetter(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return (U_GET_GC_MASK(static_cast<UChar32>(StandIn(c))) & U_GC_L_MASK) != 0;
}

bool IsNumber(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  if ((c >= 0x11DE0 && c <= 0x11DE9) || (c >= 0x16FF4 && c <= 0x16FF6))
    return true;  // Unicode 17: Digits alone has them
  return (U_GET_GC_MASK(static_cast<UChar32>(StandIn(c))) & U_GC_N_MASK) != 0;
}

bool IsWord(char32_t c) {
  const UChar32 u = static_cast<UChar32>(StandIn(c));
  return u_hasBinaryProperty(u, UCHAR_ALPHABETIC) || u_hasBinaryProperty(u, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(u) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

bool IsSpace(char32_t c) {
  return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_WHITE_SPACE) != 0;
}

std::string ToNfc(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  std::string out;
  out.reserve(text.size());
  icu::StringByteSink<std::string> sink(&out);
  Nfc().normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, status);
  if (U_FAILURE(status)) throw IoError(fmt::format("ICU cannot normalize a text to NFC: {}", u_errorName(status)));
  return out;
}

}  // namespace espalier
