#include "heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/report/format.h"
#include "espalier/report/plot.h"

namespace espalier {
namespace {

constexpr double kTallest = 22, kShortest = 7, kHeight = 260;  // of a cell, and of all rows where cells allow
constexpr int kShades = 10;  // above the lightest; the style sheet has a class for each

}  // namespace

HeatGrid MakeHeatGrid(size_t columns, size_t rows) {
  HeatGrid grid = {columns, rows};
  grid.cell = std::clamp(std::floor(kHeight / static_cast<double>(std::max<size_t>(rows, 1))), kShortest, kTallest);
  return grid;
}

std::string HeatClass(double share) {
  if (!std::isfinite(share)) return "heat none";
  return fmt::format("heat q{}", static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * kShades)));
}

void DrawHeatCell(Svg& svg, const HeatGrid& grid, size_t column, size_t row, double share, const std::string& title) {
  const double width = ColumnWidth(svg, grid.columns), gap = width > 6 ? 1 : 0;
  svg.Rect(kPlotLeft + static_cast<double>(column) * width, grid.top + static_cast<double>(row) * grid.cell,
           width - gap, grid.cell - 1, HeatClass(share), title);
}

void DrawRowAxis(Svg& svg, const HeatGrid& grid, const std::string& name) {
  constexpr double kGap = 15;  // between labels
  size_t step = 1;
  for (size_t next : {2, 4, 8, 16, 32})
    if (grid.cell * static_cast<double>(step) < kGap) step = next;
  for (size_t row = 0; row < grid.rows; row += step)
    svg.Text(kPlotLeft - 8, grid.top + (static_cast<double>(row) + 0.5) * grid.cell + 4, fmt::format("{}", row),
             "tick end");
  svg.Text(0, grid.Bottom() + 16, name, "axis");
}

std::string HeatLegend(const std::string& low, const std::string& high) {
  Svg sample(110, 12, low + " to " + high);
  for (int i = 0; i <= kShades; ++i) sample.Rect(10.0 * i, 0, 9, 12, HeatClass(i / static_cast<double>(kShades)));
  return fmt::format("<li class=\"ramp\">{}{}{}</li>\n", EscapeHtml(low), sample.Finish(), EscapeHtml(high));
}

}  // namespace espalier
