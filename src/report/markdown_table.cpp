#include "espalier/report/markdown_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace espalier {

std::string MarkdownRow(const std::vector<std::string>& cells) {
  return fmt::format("| {} |\n", fmt::join(cells, " | "));
}

}  // namespace espalier
