#pragma once
// Figures and texts as every rendered report writes them. A number that is not finite is written "not finite".
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace espalier {

// A figure with its 95 % interval, when there is one.
struct Estimate {
  double value = 0;
  std::optional<double> low, high;
  int64_t count = 0;
};

std::string FormatShare(double share);           // 0.8006 -> "80.1 %"
std::string FormatFigure(double value);          // four significant digits or whole: "29.22", "481,296", "0.0123"
std::string FormatCell(double value);            // likewise, for columns: three decimals below 1, "0.350"
std::string FormatRatio(double ratio);           // "×1.43"
std::string FormatInterval(const Estimate& of);  // "[28.61, 29.84]"; empty without both bounds
std::string FormatAxis(double value);            // "0.5", "200", "1k", "1.5M"
std::string Capital(std::string text);           // with a capital first letter
std::string PlainName(std::string_view name);    // "prefill_tokens_per_second" -> "prefill tokens per second"

// Valid UTF-8 without control characters and without marks that reorder text; line ends and tabs become spaces.
std::string CleanText(std::string_view text);
std::string EscapeHtml(std::string_view text);      // cleaned; for element content and quoted attributes, HTML and SVG
std::string EscapeMarkdown(std::string_view text);  // cleaned; one line, also inside a table cell

}  // namespace espalier
