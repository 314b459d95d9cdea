#include "espalier/report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/report/format.h"

namespace espalier {
namespace {

constexpr double kMinLabelGap = 30;  // pixels between labels of the block axis

}  // namespace

double ColumnWidth(const Svg& svg, size_t count) {
  return (svg.width() - kPlotLeft - kPlotRight) / static_cast<double>(std::max<size_t>(count, 1));
}

double ColumnAt(const Svg& svg, size_t i, size_t count) {
  return kPlotLeft + (static_cast<double>(i) + 0.5) * ColumnWidth(svg, count);
}

void DrawBlockAxis(Svg& svg, size_t count, double bottom) {
  const double column = ColumnWidth(svg, count);
  size_t step = 1;
  for (size_t next : {2, 5, 10, 20, 50})
    if (column * static_cast<double>(step) < kMinLabelGap) step = next;
  for (size_t i = 0; i < count; i += step)
    svg.Text(ColumnAt(svg, i, count), bottom + 16, fmt::format("{}", i), "tick mid");
  svg.Text((kPlotLeft + svg.width() - kPlotRight) / 2, bottom + 32, "block", "axis mid");
}

void DrawValueAxis(Svg& svg, const Scale& scale, const std::string& unit) {
  const std::vector<double> ticks = RoundTicks(scale, scale.logarithmic ? 7 : 5);
  std::vector<std::string> texts = TickTexts(ticks);
  for (size_t i = 0; i < ticks.size(); ++i) {
    if (scale.logarithmic) texts[i] = FormatAxis(ticks[i]);  // decades have no decimals in common
    svg.Line(kPlotLeft, scale.At(ticks[i]), svg.width() - kPlotRight, scale.At(ticks[i]), "grid");
    svg.Text(kPlotLeft - 8, scale.At(ticks[i]) + 4, texts[i] + unit, "tick end");
  }
}

double HeightAt(const Scale& scale, double value) {
  return std::isfinite(value) && (value > 0 || !scale.logarithmic) ? scale.At(value) : NAN;
}

void DrawColumnCurve(Svg& svg, const Scale& scale, const std::vector<double>& values, const std::string& css) {
  std::vector<double> x, y;
  for (size_t i = 0; i < values.size(); ++i) {
    x.push_back(ColumnAt(svg, i, values.size()));
    y.push_back(HeightAt(scale, values[i]));
  }
  svg.Path(PolylinePath(x, y), css);
}

void DrawBlockCurve(Svg& svg, const Scale& scale, const std::vector<double>& values, size_t style,
                    const std::string& name, const std::string& unit) {
  DrawColumnCurve(svg, scale, values, fmt::format("curve s{}", style));
  for (size_t i = 0; i < values.size(); ++i) {
    const double y = HeightAt(scale, values[i]);
    if (std::isfinite(y))
      svg.Marker(ColumnAt(svg, i, values.size()), y, style, fmt::format("mark m{}", style),
                 fmt::format("{}, block {}: {}{}", name, i, FormatFigure(values[i]), unit));
  }
}

}  // namespace espalier
