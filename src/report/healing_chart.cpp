// The healing loss over tokens.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/log.h"
#include "espalier/report/charts.h"
#include "espalier/report/plot.h"

namespace espalier {
namespace {

constexpr size_t kMaxPoints = 400;  // of a loss curve; more are averaged, a screen shows no more

void Append(std::vector<double>& all, const std::vector<double>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

struct Points {
  std::vector<double> x, y;
};

// At most kMaxPoints points: means of equally many neighbours.
Points Thin(const std::vector<int64_t>& tokens, const std::vector<double>& loss) {
  Points points;
  const size_t group = (tokens.size() + kMaxPoints - 1) / kMaxPoints;
  for (size_t first = 0; first < tokens.size(); first += group) {
    const size_t last = std::min(first + group, tokens.size());
    double x = 0, y = 0;
    for (size_t i = first; i < last; ++i) x += static_cast<double>(tokens[i]), y += loss[i];
    points.x.push_back(x / static_cast<double>(last - first));
    points.y.push_back(y / static_cast<double>(last - first));
  }
  return points;
}

void DrawLoss(Svg& svg, const Scale& x_scale, const Scale& y_scale, const Points& points, bool validation) {
  std::vector<double> x, y;
  for (size_t i = 0; i < points.x.size(); ++i) {
    x.push_back(x_scale.At(points.x[i]));
    y.push_back(std::isfinite(points.y[i]) ? y_scale.At(points.y[i]) : NAN);
  }
  svg.Path(PolylinePath(x, y), validation ? "curve s2" : "curve thin");
  if (!validation) return;
  for (size_t i = 0; i < x.size(); ++i)
    if (std::isfinite(y[i]))
      svg.Marker(x[i], y[i], 2, "mark m2",
                 fmt::format("validation after {} tokens: {}", FormatCount(static_cast<int64_t>(points.x[i])),
                             FormatFigure(points.y[i])));
}

}  // namespace

std::string HealingChart(const ReportView& view, double width) {
  if (!view.data.healing || view.data.healing->tokens.empty()) return "";
  const HealingCurve& curve = *view.data.healing;
  const Points steps = Thin(curve.tokens, curve.loss),
               validation = {std::vector<double>(curve.validation_tokens.begin(), curve.validation_tokens.end()),
                             curve.validation_loss};
  constexpr double kHeight = 260, kTop = 12;
  Svg svg(width, kHeight, "Loss while healing");
  std::vector<double> all_x = steps.x, all_y = steps.y;
  Append(all_x, validation.x);
  Append(all_y, validation.y);
  Scale y_scale = ScaleAround(all_y, false, false);
  y_scale.from = kHeight - kPlotBottom, y_scale.to = kTop;
  const double last = *std::max_element(all_x.begin(), all_x.end());
  const Scale x_scale = {0, std::max(last, 1.0), kPlotLeft, width - kPlotRight - 8, false};
  DrawValueAxis(svg, y_scale, "");
  for (double tick : RoundTicks(x_scale, width < 500 ? 4 : 8))
    svg.Text(x_scale.At(tick), kHeight - kPlotBottom + 16, FormatAxis(tick), "tick mid");
  svg.Text((kPlotLeft + width - kPlotRight) / 2, kHeight - 4, "tokens seen", "axis mid");
  DrawLoss(svg, x_scale, y_scale, steps, false);
  DrawLoss(svg, x_scale, y_scale, validation, true);
  return svg.Finish();
}

}  // namespace espalier
