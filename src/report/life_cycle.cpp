// The life cycle of spikes: both taps of every sublayer.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "espalier/report/format.h"
#include "espalier/report/html_page.h"
#include "espalier/report/phenomena_charts.h"
#include "espalier/report/plot.h"

namespace espalier {
namespace {

constexpr size_t kPeaks = 3;  // channels the census keeps of a tap

// One of the two panels.
struct Panel {
  const char* title;
  const char* measure;  // "max |h|"
  double top, bottom;
  double Census::*largest;
  std::vector<Peak> Census::*peaks;
};
constexpr Panel kPanels[] = {
    {"Residual stream after each addition", "|h|", 46, 266, &Census::residual_max, &Census::residual_top},
    {"Output of each half block before its addition", "|F(h)|", 328, 498, &Census::output_max, &Census::output_top}};
constexpr double kHeight = 498 + kPlotBottom;

const Census& TapOf(const Phenomena& model, size_t sublayer) {
  const BlockPhenomena& block = model.blocks[sublayer / 2];
  return sublayer % 2 == 0 ? block.attention : block.ffn;
}

template <class Value>
std::vector<double> Values(const Phenomena& model, const Value& value) {
  std::vector<double> values;
  for (size_t i = 0; i < 2 * model.blocks.size(); ++i) values.push_back(value(TapOf(model, i)));
  return values;
}

std::vector<double> Maxima(const Phenomena& model, const Panel& panel) {
  return Values(model, [&panel](const Census& tap) { return tap.*panel.largest; });
}

std::vector<double> Medians(const Phenomena& model) {
  return Values(model, [](const Census& tap) { return tap.residual_median; });
}

std::string PointTitle(const Phenomena& model, const Panel& panel, size_t i) {
  const Sublayer sublayer = {static_cast<int64_t>(i / 2), i % 2 == 0};
  const Census& tap = TapOf(model, i);
  std::string text = fmt::format("{}, block {} {} (paper's block {}): largest {} {}", model.model, sublayer.block,
                                 sublayer.attention ? "attention" : "FFN", sublayer.PaperNumber(), panel.measure,
                                 FormatFigure(tap.*panel.largest));
  if (panel.largest == &Census::residual_max) text += fmt::format(", {} medians", FormatFigure(tap.Ratio()));
  std::vector<std::string> peaks;
  for (const Peak& peak : tap.*panel.peaks)
    peaks.push_back(
        fmt::format("{} in channel {} at position {}", FormatFigure(peak.value), peak.channel, peak.position));
  return text + (peaks.empty() ? "" : fmt::format("; {}", fmt::join(peaks, ", ")));
}

// A column behind the curves of both panels and a triangle above: the half block changes the residual stream. One that
// raises some channel and lowers another has half a column for each.
void DrawStep(Svg& svg, const Sublayer& step, size_t count, bool up, bool both) {
  const std::string title =
      fmt::format("block {} {} (paper's block {}): {}", step.block, step.attention ? "attention" : "FFN",
                  step.PaperNumber(), up ? "step-up" : "step-down");
  const double column = std::max(ColumnWidth(svg, count), 3.0), width = both ? column / 2 : column;
  const double middle = ColumnAt(svg, static_cast<size_t>(step.PaperNumber() - 1), count);
  const double left = both && !up ? middle : middle - column / 2;
  for (const Panel& panel : kPanels)
    svg.Rect(left, panel.top, width, panel.bottom - panel.top, up ? "band up" : "band down", title);
  const double x = both ? middle + (up ? -5.5 : 5.5) : middle;  // side by side
  const double y = kPanels[0].top - 8, tip = up ? -4.5 : 4.5;
  svg.Path(fmt::format("M{} {}L{} {}L{} {}z", SvgNumber(x), SvgNumber(y + tip), SvgNumber(x + 5), SvgNumber(y - tip),
                       SvgNumber(x - 5), SvgNumber(y - tip)),
           up ? "glyph up" : "glyph down", title);
}

void DrawSteps(Svg& svg, const Phenomena& model) {
  const auto has = [](const std::vector<Sublayer>& steps, const Sublayer& step) {
    return std::find(steps.begin(), steps.end(), step) != steps.end();
  };
  const size_t count = 2 * model.blocks.size();
  for (const Sublayer& step : model.step_up) DrawStep(svg, step, count, true, has(model.step_down, step));
  for (const Sublayer& step : model.step_down) DrawStep(svg, step, count, false, has(model.step_up, step));
}

// Filled markers are FFNs, open ones attention. A phone has no room for them, and nothing hovers there.
void DrawPoints(Svg& svg, const Phenomena& model, const Panel& panel, const Scale& scale, size_t style) {
  const std::vector<double> values = Maxima(model, panel);
  for (size_t i = 0; i < values.size(); ++i) {
    const double y = HeightAt(scale, values[i]);
    if (!std::isfinite(y)) continue;
    svg.Marker(ColumnAt(svg, i, values.size()), y, style, fmt::format("{}{}", i % 2 == 0 ? "open s" : "mark m", style),
               PointTitle(model, panel, i));
  }
}

// The second or third channel of a tap, by `rank` from 0.
std::vector<double> Ranked(const Phenomena& model, const Panel& panel, size_t rank) {
  return Values(model, [&](const Census& tap) {
    return rank < (tap.*panel.peaks).size() ? std::fabs((tap.*panel.peaks)[rank].value) : NAN;
  });
}

// All that the panel draws of a model; the smaller channels only where there is one model.
std::vector<std::vector<double>> Curves(const StyledModels& models, const Phenomena& model, const Panel& panel) {
  std::vector<std::vector<double>> curves = {Maxima(model, panel)};
  if (panel.largest == &Census::residual_max) curves.push_back(Medians(model));
  for (size_t rank = 1; models.size() == 1 && rank < kPeaks; ++rank) curves.push_back(Ranked(model, panel, rank));
  return curves;
}

void DrawPanel(Svg& svg, const StyledModels& models, const Panel& panel) {
  const bool residual = panel.largest == &Census::residual_max;
  std::vector<double> all;
  for (const StyledModel& model : models)
    for (const std::vector<double>& curve : Curves(models, *model.phenomena, panel))
      all.insert(all.end(), curve.begin(), curve.end());
  Scale scale = ScaleAround(all, false, true);
  scale.from = panel.bottom, scale.to = panel.top;
  svg.Text(0, panel.top - 24, panel.title, "group");
  DrawValueAxis(svg, scale, "");
  for (const StyledModel& model : models) {
    const auto curves = Curves(models, *model.phenomena, panel);
    if (residual) DrawColumnCurve(svg, scale, curves[1], fmt::format("curve dotted s{}", model.style));
    for (size_t i = residual ? 2 : 1; i < curves.size(); ++i) DrawColumnCurve(svg, scale, curves[i], "curve thin");
  }
  for (const StyledModel& model : models) {
    DrawColumnCurve(svg, scale, Maxima(*model.phenomena, panel), fmt::format("curve s{}", model.style));
    if (!IsPhone(svg.width())) DrawPoints(svg, *model.phenomena, panel, scale, model.style);
  }
}

}  // namespace

std::string LifeCycleChart(const StyledModels& models, double width) {
  if (models.empty() || models.front().phenomena->blocks.empty()) return "";
  Svg svg(width, kHeight, "Largest residual value after each half block and largest output before it, logarithmic");
  const Phenomena& first = *models.front().phenomena;
  DrawSteps(svg, first);
  for (const Panel& panel : kPanels) DrawPanel(svg, models, panel);
  DrawBlockAxis(svg, first.blocks.size(), kPanels[1].bottom);
  return svg.Finish();
}

std::string LifeCycleLegend(const StyledModels& models) {
  if (models.empty()) return "";
  std::string items;
  for (const StyledModel& model : models) items += LegendCurve(model.style, model.phenomena->model + ", largest");
  if (models.size() == 1) items += LegendPath("M1 6H25", "curve thin", "second and third channel");
  const size_t style = models.front().style;
  items += LegendPath("M1 6H25", fmt::format("curve dotted s{}", style), "median |h|");
  items += LegendMarker(style, fmt::format("mark m{}", style), "FFN");
  items += LegendMarker(style, fmt::format("open s{}", style), "attention");
  const Phenomena& first = *models.front().phenomena;
  if (!first.step_up.empty()) items += LegendPath("M13 1L18 10L8 10z", "glyph up", "step-up");
  if (!first.step_down.empty()) items += LegendPath("M13 11L18 2L8 2z", "glyph down", "step-down");
  return LegendList(items);
}

}  // namespace espalier
