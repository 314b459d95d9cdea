// Charts of lines: the spike life cycle, the sinks, the healing loss.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/log.h"
#include "espalier/report/charts.h"
#include "espalier/report/svg.h"

namespace espalier {
namespace {

constexpr double kLeft = 46, kRight = 14, kBottom = 36;  // room for tick labels and the axis title
constexpr double kMinLabelGap = 30;                      // pixels between labels of the block axis
constexpr size_t kMaxPoints = 400;                       // of a loss curve; more are averaged, a screen shows no more

// Pixels of block `i` of `count` on the x axis: the middle of its column.
double BlockAt(const Svg& svg, size_t i, size_t count) {
  const double column = (svg.width() - kLeft - kRight) / static_cast<double>(std::max<size_t>(count, 1));
  return kLeft + (static_cast<double>(i) + 0.5) * column;
}

void DrawBlockAxis(Svg& svg, size_t count, double bottom) {
  const double column = (svg.width() - kLeft - kRight) / static_cast<double>(std::max<size_t>(count, 1));
  size_t step = 1;
  for (size_t next : {2, 5, 10, 20, 50})
    if (column * static_cast<double>(step) < kMinLabelGap) step = next;
  for (size_t i = 0; i < count; i += step)
    svg.Text(BlockAt(svg, i, count), bottom + 16, fmt::format("{}", i), "tick mid");
  svg.Text((kLeft + svg.width() - kRight) / 2, bottom + 32, "block", "axis mid");
}

void DrawValueAxis(Svg& svg, const Scale& scale, const std::string& unit) {
  const std::vector<double> ticks = RoundTicks(scale, scale.logarithmic ? 7 : 5);
  std::vector<std::string> texts = TickTexts(ticks);
  for (size_t i = 0; i < ticks.size(); ++i) {
    if (scale.logarithmic) texts[i] = FormatAxis(ticks[i]);  // decades have no decimals in common
    svg.Line(kLeft, scale.At(ticks[i]), svg.width() - kRight, scale.At(ticks[i]), "grid");
    svg.Text(kLeft - 8, scale.At(ticks[i]) + 4, texts[i] + unit, "tick end");
  }
}

// One model's curve over blocks, with a marker and its figures at each.
void DrawBlockCurve(Svg& svg, const Scale& scale, const std::vector<double>& values, size_t style,
                    const std::string& name, const std::string& unit) {
  std::vector<double> x, y;
  for (size_t i = 0; i < values.size(); ++i) {
    x.push_back(BlockAt(svg, i, values.size()));
    y.push_back(std::isfinite(values[i]) ? scale.At(values[i]) : NAN);
  }
  svg.Path(PolylinePath(x, y), fmt::format("curve s{}", style));
  for (size_t i = 0; i < values.size(); ++i)
    if (std::isfinite(y[i]))
      svg.Marker(x[i], y[i], style, fmt::format("mark m{}", style),
                 fmt::format("{}, block {}: {}{}", name, i, FormatFigure(values[i]), unit));
}

// A column behind the curves and a triangle above: the block changes the residual stream.
void DrawSteps(Svg& svg, const std::vector<Sublayer>& steps, size_t count, double top, double bottom, bool up) {
  const double column = (svg.width() - kLeft - kRight) / static_cast<double>(std::max<size_t>(count, 1));
  for (const Sublayer& step : steps) {
    const std::string block = SublayerText(step);
    const double x = BlockAt(svg, static_cast<size_t>(step.block), count);
    svg.Rect(x - column / 2, top, column, bottom - top, up ? "band up" : "band down",
             fmt::format("block {}: {}", block, up ? "step-up" : "step-down"));
    const double y = top - 8, tip = up ? -4.5 : 4.5;
    svg.Path(fmt::format("M{} {}L{} {}L{} {}z", SvgNumber(x), SvgNumber(y + tip), SvgNumber(x + 5), SvgNumber(y - tip),
                         SvgNumber(x - 5), SvgNumber(y - tip)),
             up ? "glyph up" : "glyph down", fmt::format("block {}: {}", block, up ? "step-up" : "step-down"));
  }
}

template <class Value>
std::vector<double> Column(const Phenomena& phenomena, const Value& value) {
  std::vector<double> values;
  for (const BlockPhenomena& block : phenomena.blocks) values.push_back(value(block));
  return values;
}

double ResidualMax(const BlockPhenomena& block) {
  return block.ffn.residual_max;
}

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

std::string LifeCycleChart(const ReportView& view, double width) {
  const auto& phenomena = view.data.phenomena;
  if (phenomena.empty() || phenomena.front().blocks.empty()) return "";
  std::vector<double> all;
  for (const Phenomena& model : phenomena) {
    Append(all, Column(model, ResidualMax));
    Append(all, Column(model, [](const BlockPhenomena& block) { return block.ffn.residual_median; }));
  }
  constexpr double kHeight = 330, kTop = 24;
  Svg svg(width, kHeight, "Largest and median residual value after each block, logarithmic scale");
  Scale scale = ScaleAround(all, false, true);
  scale.from = kHeight - kBottom, scale.to = kTop;
  const size_t count = phenomena.front().blocks.size();
  DrawSteps(svg, phenomena.front().step_up, count, kTop, kHeight - kBottom, true);
  DrawSteps(svg, phenomena.front().step_down, count, kTop, kHeight - kBottom, false);
  DrawValueAxis(svg, scale, "");
  DrawBlockAxis(svg, count, kHeight - kBottom);
  for (const Phenomena& model : phenomena) {
    const size_t style = ModelStyle(view.comparison, model.model);
    std::vector<double> x, y;
    for (size_t i = 0; i < model.blocks.size(); ++i) {
      const double median = model.blocks[i].ffn.residual_median;
      x.push_back(BlockAt(svg, i, model.blocks.size()));
      y.push_back(std::isfinite(median) && median > 0 ? scale.At(median) : NAN);
    }
    svg.Path(PolylinePath(x, y), fmt::format("curve dotted s{}", style));
  }
  for (const Phenomena& model : phenomena)
    DrawBlockCurve(svg, scale, Column(model, ResidualMax), ModelStyle(view.comparison, model.model),
                   model.model + " max |h|", "");
  return svg.Finish();
}

std::string SinkChart(const ReportView& view, double width) {
  const auto& phenomena = view.data.phenomena;
  if (phenomena.empty() || phenomena.front().blocks.empty()) return "";
  constexpr double kHeight = 230, kTop = 12;
  Svg svg(width, kHeight, "Share of heads that are sinks, block by block");
  const Scale scale = {0, 100, kHeight - kBottom, kTop, false};
  DrawValueAxis(svg, scale, " %");
  DrawBlockAxis(svg, phenomena.front().blocks.size(), kHeight - kBottom);
  for (const Phenomena& model : phenomena)
    DrawBlockCurve(svg, scale, Column(model, [](const BlockPhenomena& block) { return 100 * block.sink_share; }),
                   ModelStyle(view.comparison, model.model), model.model + " sink share", " %");
  return svg.Finish();
}

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
  y_scale.from = kHeight - kBottom, y_scale.to = kTop;
  const double last = *std::max_element(all_x.begin(), all_x.end());
  const Scale x_scale = {0, std::max(last, 1.0), kLeft, width - kRight - 8, false};
  DrawValueAxis(svg, y_scale, "");
  for (double tick : RoundTicks(x_scale, width < 500 ? 4 : 8))
    svg.Text(x_scale.At(tick), kHeight - kBottom + 16, FormatAxis(tick), "tick mid");
  svg.Text((kLeft + width - kRight) / 2, kHeight - 4, "tokens seen", "axis mid");
  DrawLoss(svg, x_scale, y_scale, steps, false);
  DrawLoss(svg, x_scale, y_scale, validation, true);
  return svg.Finish();
}

}  // namespace espalier
