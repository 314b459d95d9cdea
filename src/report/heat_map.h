#pragma once
// Cells of blocks x rows in eleven shades of one colour.
#include <functional>
#include <string>

#include "espalier/report/svg.h"

namespace espalier {

struct HeatGrid {
  size_t columns = 0, rows = 0;
  double top = 8, cell = 0;  // first pixel of the rows, and their pitch
  double Bottom() const { return top + cell * static_cast<double>(rows); }
};

// Rows as tall as fits a chart of sensible height.
HeatGrid MakeHeatGrid(size_t columns, size_t rows);
// Class of a shade: `share` in [0, 1]; "heat none" when it is not finite.
std::string HeatClass(double share);
void DrawHeatCell(Svg& svg, const HeatGrid& grid, size_t column, size_t row, double share, const std::string& title);
// Numbers of rows on the left, as many as fit, and the name of what they count.
void DrawRowAxis(Svg& svg, const HeatGrid& grid, const std::string& name);
// "0 [shades] 1" for a legend, with what the ends mean.
std::string HeatLegend(const std::string& low, const std::string& high);

}  // namespace espalier
