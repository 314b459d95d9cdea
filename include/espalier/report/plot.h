#pragma once
// Axes and curves that charts over blocks share.
#include <string>
#include <vector>

#include "espalier/report/svg.h"

namespace espalier {

constexpr double kPlotLeft = 46, kPlotRight = 14, kPlotBottom = 36;  // room for tick labels and the axis title

// Pitch of `count` columns over the plot, and the middle of column `i`.
double ColumnWidth(const Svg& svg, size_t count);
double ColumnAt(const Svg& svg, size_t i, size_t count);

// Numbers of `count` blocks under their columns, as many as fit, and the axis title; the axis lies at `bottom`.
void DrawBlockAxis(Svg& svg, size_t count, double bottom);
// Grid lines and their values.
void DrawValueAxis(Svg& svg, const Scale& scale, const std::string& unit);

// A curve through the middle of columns; a gap where a value is not finite, or not above 0 on a logarithmic scale.
void DrawColumnCurve(Svg& svg, const Scale& scale, const std::vector<double>& values, const std::string& css);
// Its height at `value`, NaN in a gap.
double HeightAt(const Scale& scale, double value);

// One model's curve over blocks with a marker at each; its tooltip: "NAME, block 3: 12.0 UNIT".
void DrawBlockCurve(Svg& svg, const Scale& scale, const std::vector<double>& values, size_t style,
                    const std::string& name, const std::string& unit);

}  // namespace espalier
