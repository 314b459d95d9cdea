#include "espalier/report/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/log.h"

namespace espalier {
namespace {

constexpr const char* kNotFinite = "not finite";
constexpr char32_t kReplacement = 0xFFFD;

// Takes one code point off the front of `text`; an ill-formed byte becomes U+FFFD.
char32_t TakeCodePoint(std::string_view& text) {
  const auto byte = [&text](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const unsigned first = byte(0);
  const size_t length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
  char32_t code = length == 1 ? first : length == 0 ? kReplacement : first & (0xFFU >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if (byte(i) >> 6 != 2) {
      text.remove_prefix(1);
      return kReplacement;
    }
    code = code << 6 | (byte(i) & 0x3F);
  }
  text.remove_prefix(std::max<size_t>(length, 1));
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};  // by length; a longer form of a code point is hostile
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < kSmallest[length] || surrogate || code > 0x10FFFF ? kReplacement : code;
}

void AppendUtf8(std::string& out, char32_t code) {
  const auto tail = [&out, code](int shift) { out += static_cast<char>(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    tail(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    tail(12), tail(6), tail(0);
  }
}

// Marks that make text read in another order than it is stored in, and U+FEFF.
bool Reorders(char32_t code) {
  return (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) || code == 0x200E || code == 0x200F ||
         code == 0xFEFF;
}

}  // namespace

std::string FormatShare(double share) {
  if (!std::isfinite(share)) return kNotFinite;
  return fmt::format("{:.1f} %", 100 * share);
}

std::string FormatFigure(double value) {
  if (!std::isfinite(value)) return kNotFinite;
  const double size = std::fabs(value);
  if (size >= 1e9) return fmt::format("{:.3g}", value);
  if (size >= 999.95) return FormatCount(static_cast<int64_t>(std::llround(value)));
  if (size >= 99.995) return fmt::format("{:.1f}", value);
  if (size >= 1 || size == 0) return fmt::format("{:.2f}", value);
  return fmt::format("{:.3g}", value);
}

std::string FormatCell(double value) {
  const double size = std::fabs(value);
  return size >= 0.0005 && size < 1 ? fmt::format("{:.3f}", value) : FormatFigure(value);
}

std::string FormatRatio(double ratio) {
  if (!std::isfinite(ratio)) return kNotFinite;
  if (ratio >= 9.995) return "×" + FormatFigure(ratio);
  return fmt::format("×{:.2f}", ratio);
}

std::string FormatInterval(const Estimate& of) {
  if (!of.low || !of.high) return "";
  return fmt::format("[{}, {}]", FormatFigure(*of.low), FormatFigure(*of.high));
}

std::string FormatAxis(double value) {
  const double size = std::fabs(value);
  if (size >= 1e6) return fmt::format("{:g}M", value / 1e6);
  if (size >= 1e3) return fmt::format("{:g}k", value / 1e3);
  return fmt::format("{:g}", value);
}

std::string PlainName(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

std::string Capital(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

std::string CleanText(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const char32_t code = TakeCodePoint(text);
    if (code == '\n' || code == '\t') clean += ' ';
    const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
    if (!control && !Reorders(code)) AppendUtf8(clean, code);
  }
  return clean;
}

std::string EscapeHtml(std::string_view text) {
  std::string escaped;
  const std::string clean = CleanText(text);
  for (size_t i = 0; i < clean.size(); ++i) {
    switch (clean[i]) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      case ' ':
        escaped += clean.compare(i, 2, " %") == 0 ? "\u00a0" : " ";
        break;  // no line starts with a % sign
      default:
        escaped += clean[i];
    }
  }
  return escaped;
}

std::string EscapeMarkdown(std::string_view text) {
  std::string escaped;
  for (char c : CleanText(text)) {
    if (c == '<') {
      escaped += "&lt;";  // GitHub passes HTML through; a backslash would also do, but not in every renderer
    } else if (c == '&') {
      escaped += "&amp;";
    } else {
      if (std::string_view("\\`*_[]|~#>").find(c) != std::string_view::npos) escaped += '\\';
      escaped += c;
    }
  }
  return escaped;
}

}  // namespace espalier
