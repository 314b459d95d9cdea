#pragma once
// Text for a terminal of 100 columns.
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

constexpr size_t kTerminalWidth = 100;

// Characters shown: bytes that are not the tail of a UTF-8 sequence.
size_t ShownWidth(std::string_view text);
// Cleaned, and with an ellipsis where it is longer than `width`.
std::string CutText(const std::string& text, size_t width);

// Cells of one column, heads first; a text of more than 30 characters is cut.
struct TextColumn {
  std::vector<std::string> cells;
  size_t width = 0;
};
TextColumn MakeTextColumn(const std::vector<std::string>& cells);

// Right-aligned columns after the left-aligned `names`: as many a table as fit; what does not goes below, with the
// names again.
std::string RenderColumns(const TextColumn& names, const std::vector<TextColumn>& columns);

// Lines of at most the terminal's width, cleaned; the second and later ones start with `indent` spaces. Ends with a
// newline.
std::string WrapText(std::string_view text, size_t indent = 0);

}  // namespace espalier
