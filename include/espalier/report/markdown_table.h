#pragma once
// Tables in Markdown.
#include <string>
#include <vector>

namespace espalier {

// "| a | b |\n". Cells are Markdown.
std::string MarkdownRow(const std::vector<std::string>& cells);

}  // namespace espalier
