#include "espalier/report/text_table.h"

#include <algorithm>

#include "espalier/report/format.h"

namespace espalier {
namespace {

constexpr size_t kMaxColumn = 30;  // of one table column
constexpr std::string_view kGap = "  ";

std::string Padding(size_t count) {
  return std::string(count, ' ');
}

// Bytes of the first `characters` characters.
size_t BytesOf(std::string_view text, size_t characters) {
  size_t bytes = 0;
  for (size_t shown = 0; bytes < text.size(); ++bytes)
    if ((text[bytes] & 0xC0) != 0x80 && ++shown > characters) break;
  return bytes;
}

// The columns from `first` to before `last`, after the column of names.
std::string Lines(const TextColumn& names, const std::vector<TextColumn>& columns, size_t first, size_t last) {
  std::string text;
  for (size_t row = 0; row < names.cells.size(); ++row) {
    std::string line = names.cells[row] + Padding(names.width - ShownWidth(names.cells[row]));
    for (size_t c = first; c < last; ++c)
      line += std::string(kGap) + Padding(columns[c].width - ShownWidth(columns[c].cells[row])) + columns[c].cells[row];
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace

size_t ShownWidth(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string CutText(const std::string& text, size_t width) {
  std::string clean = CleanText(text);
  if (ShownWidth(clean) <= width) return clean;
  return clean.substr(0, BytesOf(clean, width - 1)) + "…";
}

TextColumn MakeTextColumn(const std::vector<std::string>& cells) {
  TextColumn column;
  for (const std::string& cell : cells) {
    column.cells.push_back(CutText(cell, kMaxColumn));
    column.width = std::max(column.width, ShownWidth(column.cells.back()));
  }
  return column;
}

std::string RenderColumns(const TextColumn& names, const std::vector<TextColumn>& columns) {
  std::string text;
  for (size_t first = 0; first < columns.size();) {
    size_t last = first, width = names.width;
    while (last < columns.size() && (last == first || width + kGap.size() + columns[last].width <= kTerminalWidth))
      width += kGap.size() + columns[last++].width;
    text += (text.empty() ? "" : "\n") + Lines(names, columns, first, last);
    first = last;
  }
  return text;
}

std::string WrapText(std::string_view text, size_t indent) {
  const std::string clean = CleanText(text);
  std::string lines, line;
  const auto flush = [&] {
    lines += line + "\n";
    line = Padding(indent);
  };
  for (size_t at = 0; at < clean.size();) {
    const size_t end = std::min(clean.find(' ', at), clean.size());
    std::string_view word = std::string_view(clean).substr(at, end - at);
    const bool opens = line.find_first_not_of(' ') == std::string::npos;  // nothing on the line yet
    if (!opens && ShownWidth(line) + 1 + ShownWidth(word) > kTerminalWidth) {
      flush();
    } else if (!opens) {
      line += ' ';
    }
    while (ShownWidth(line) + ShownWidth(word) > kTerminalWidth) {  // longer than a line
      const size_t bytes = BytesOf(word, kTerminalWidth - ShownWidth(line));
      line += word.substr(0, bytes);
      word.remove_prefix(bytes);
      flush();
    }
    line += word;
    at = end + 1;
  }
  return lines + line + "\n";
}

}  // namespace espalier
