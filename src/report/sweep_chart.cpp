// The pictures of a sweep: perplexity over the removed share, or over the variants when there is one share.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/report/format.h"
#include "espalier/report/html_style.h"
#include "espalier/report/plot.h"
#include "espalier/report/sweep.h"
#include "sweep_style.h"
#include "sweep_view.h"

namespace espalier {
namespace {

constexpr double kFileWidth = 760, kLegendRow = 20;

// A row's point of the picture with the place of its variant.
struct Mark {
  const SweepPoint* point = nullptr;
  const SweepRow* row = nullptr;
  double removed = 0;  // share of block parameters, mean over seeds
  double Low() const { return point->perplexity * point->ratio_low / point->ratio; }
  double High() const { return point->perplexity * point->ratio_high / point->ratio; }
};

bool IsDrawable(double perplexity) {
  return std::isfinite(perplexity) && perplexity > 0;
}

std::vector<Mark> MarksOf(const SweepReport& sweep, const std::vector<SweepRow>& rows, const SweepText& text) {
  const std::string model = SweepFinalModel(sweep);
  std::vector<Mark> marks;
  for (const SweepRow& row : rows) {
    const SweepPoint* point = FindPoint(sweep, row, model, text.id);
    if (point == nullptr || !IsDrawable(point->perplexity)) continue;
    marks.push_back({point, &row, SpreadOf(row, [](const SweepRun& run) { return run.block_parameters; }).mean});
  }
  return marks;
}

std::string Tooltip(const Mark& mark) {
  const SweepPoint& point = *mark.point;
  return fmt::format(
      "{}, {} of block parameters removed: {} {} {}{}", point.variant, FormatShare(mark.removed),
      FormatFigure(point.perplexity), FormatRatio(point.ratio),
      FormatInterval({point.ratio, point.ratio_low, point.ratio_high, 0}),
      point.seeds > 1 ? fmt::format("; seeds {} to {}", FormatFigure(point.lowest), FormatFigure(point.highest)) : "");
}

// Every perplexity of the picture, with a little room on both sides.
Scale PerplexityScale(const std::vector<Mark>& marks, double dense) {
  double low = INFINITY, high = 0;
  const auto take = [&](double value) {
    if (!IsDrawable(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  };
  take(dense);
  for (const Mark& mark : marks)
    for (const double value :
         {mark.point->perplexity, mark.point->lowest, mark.point->highest, mark.Low(), mark.High()})
      take(value);
  const double room = std::pow(high / low, 0.04) * 1.02;
  return {low / room, high * room, 0, 1, true};
}

// Ticks of a logarithmic scale that spans less than a few decades: 1, 2, 5, or finer or coarser, times powers of ten.
std::vector<double> LogTicks(const Scale& scale) {
  const double decades = std::log10(scale.high / scale.low);
  const std::vector<double> factors = decades < 0.4   ? std::vector<double>{1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9}
                                      : decades < 1.2 ? std::vector<double>{1, 1.5, 2, 3, 5, 7}
                                      : decades < 3.6 ? std::vector<double>{1, 2, 5}
                                                      : std::vector<double>{1};
  std::vector<double> ticks;
  for (double power = std::floor(std::log10(scale.low)); power <= std::ceil(std::log10(scale.high)); ++power)
    for (const double factor : factors) {
      const double tick = factor * std::pow(10, power);
      if (tick >= scale.low && tick <= scale.high) ticks.push_back(tick);
    }
  return ticks;
}

// --- a line a variant ---

void DrawLineAxes(Svg& svg, const Scale& x, const Scale& y) {
  for (const double tick : LogTicks(y)) {
    svg.Line(x.from, y.At(tick), x.to, y.At(tick), "grid");
    svg.Text(x.from - 8, y.At(tick) + 4, FormatAxis(tick), "tick end");
  }
  for (const double tick : RoundTicks(x, svg.width() < 500 ? 4 : 8))
    svg.Text(x.At(tick), y.from + 16, fmt::format("{:g} %", 100 * tick), "tick mid");
  svg.Text((x.from + x.to) / 2, y.from + 32, "removed share of block parameters", "axis mid");
}

void DrawVariant(Svg& svg, const Scale& x_scale, const Scale& y_scale, const std::vector<Mark>& marks, double dense,
                 double shift) {
  const SweepStyle style = StyleOf(marks.front().row->style);
  std::vector<double> x, y;
  std::string band, back;
  // Where nothing is removed, every variant is the dense model.
  std::vector<double> line_x = {x_scale.from}, line_y = {IsDrawable(dense) ? y_scale.At(dense) : NAN};
  for (const Mark& mark : marks) {
    x.push_back(x_scale.At(mark.removed) + shift);
    y.push_back(y_scale.At(mark.point->perplexity));
    if (mark.point->seeds < 2 || !IsDrawable(mark.point->lowest) || !IsDrawable(mark.point->highest)) continue;
    const std::string at = SvgNumber(x.back());
    band += fmt::format("{}{} {}", band.empty() ? "M" : "L", at, SvgNumber(y_scale.At(mark.point->highest)));
    back = fmt::format("L{} {}{}", at, SvgNumber(y_scale.At(mark.point->lowest)), back);
  }
  if (!band.empty()) svg.Path(band + back + "z", style.band);
  line_x.insert(line_x.end(), x.begin(), x.end());
  line_y.insert(line_y.end(), y.begin(), y.end());
  svg.Path(PolylinePath(line_x, line_y), style.curve);
  for (size_t i = 0; i < marks.size(); ++i) {
    const double low = y_scale.At(marks[i].Low()), high = y_scale.At(marks[i].High());
    if (IsDrawable(marks[i].Low()) && IsDrawable(marks[i].High()))
      svg.Path(fmt::format("M{0} {1}V{2}M{3} {1}H{4}M{3} {2}H{4}", SvgNumber(x[i]), SvgNumber(low), SvgNumber(high),
                           SvgNumber(x[i] - 3), SvgNumber(x[i] + 3)),
               style.error);
    svg.Marker(x[i], y[i], style.shape, style.mark, Tooltip(marks[i]));
  }
}

void DrawDense(Svg& svg, const Scale& x, const Scale& y, double dense) {
  if (!IsDrawable(dense)) return;
  svg.Path(fmt::format("M{} {}H{}", SvgNumber(x.from), SvgNumber(y.At(dense)), SvgNumber(x.to)), "curve s0");
  svg.Text(x.to - 4, y.At(dense) - 7, "dense " + FormatFigure(dense), "tick end");
}

void DrawLines(Svg& svg, const std::vector<Mark>& marks, const SweepText& text, double top, double bottom) {
  double furthest = 0.01;
  for (const Mark& mark : marks) furthest = std::max(furthest, mark.removed);
  const Scale x = {0, furthest * 1.04, kPlotLeft, svg.width() - kPlotRight, false};
  Scale y = PerplexityScale(marks, text.dense);
  y.from = bottom - kPlotBottom, y.to = top;
  DrawLineAxes(svg, x, y);
  DrawDense(svg, x, y, text.dense);
  std::vector<std::vector<Mark>> variants;
  for (const Mark& mark : marks) {
    if (variants.empty() || variants.back().front().row->variant != mark.row->variant) variants.emplace_back();
    variants.back().push_back(mark);
  }
  for (size_t i = 0; i < variants.size(); ++i) {  // shifted a little, so that intervals do not hide each other
    const double place = static_cast<double>(i) - (static_cast<double>(variants.size()) - 1) / 2;
    DrawVariant(svg, x, y, variants[i], text.dense, 3 * place);
  }
}

// --- a row a variant ---

double LabelWidth(const std::vector<Mark>& marks, double width) {
  size_t longest = 5;
  for (const Mark& mark : marks) longest = std::max(longest, mark.point->variant.size());
  return std::min(7.4 * static_cast<double>(longest) + 14, 0.42 * width);
}

void DrawRow(Svg& svg, const Scale& x, double y, const Mark& mark, bool value_too) {
  const SweepStyle style = StyleOf(mark.row->style);
  svg.Text(x.from - 10, y + 4.5, mark.point->variant, "label end");
  if (mark.point->seeds > 1 && IsDrawable(mark.point->lowest) && IsDrawable(mark.point->highest)) {
    const double low = x.At(mark.point->lowest), high = x.At(mark.point->highest);
    svg.Rect(low, y - 7, std::max(high - low, 1.0), 14, style.band + " wideband");
  }
  double right = x.At(mark.point->perplexity);
  if (IsDrawable(mark.Low()) && IsDrawable(mark.High())) {
    const double low = x.At(mark.Low()), high = x.At(mark.High());
    svg.Path(fmt::format("M{0} {2}H{1}M{0} {3}V{4}M{1} {3}V{4}", SvgNumber(low), SvgNumber(high), SvgNumber(y),
                         SvgNumber(y - 4), SvgNumber(y + 4)),
             style.error);
    right = std::max(right, high);
  }
  svg.Marker(x.At(mark.point->perplexity), y, style.shape, style.mark, Tooltip(mark), 1.2);
  if (value_too)
    svg.Text(svg.width() - 2, y + 4.5,
             fmt::format("{}  {}", FormatFigure(mark.point->perplexity), FormatRatio(mark.point->ratio)), "tick end");
}

constexpr double kRowPitch = 28;

void DrawRows(Svg& svg, const std::vector<Mark>& marks, const SweepText& text, double top, double bottom) {
  const bool value_too = svg.width() >= 500;
  Scale x = PerplexityScale(marks, text.dense);
  x.from = LabelWidth(marks, svg.width()), x.to = svg.width() - (value_too ? 120 : kPlotRight);
  double last = -INFINITY;
  for (const double tick : LogTicks(x)) {
    svg.Line(x.At(tick), top, x.At(tick), bottom - kPlotBottom, "grid");
    if (x.At(tick) - last < 34) continue;
    last = x.At(tick);
    svg.Text(last, bottom - kPlotBottom + 16, FormatAxis(tick), "tick mid");
  }
  svg.Text((x.from + x.to) / 2, bottom - kPlotBottom + 32, "perplexity", "axis mid");
  if (IsDrawable(text.dense)) {
    svg.Path(fmt::format("M{} {}V{}", SvgNumber(x.At(text.dense)), SvgNumber(top), SvgNumber(bottom - kPlotBottom)),
             "curve s0");
    svg.Text(x.At(text.dense) + 6, top + 10, "dense " + FormatFigure(text.dense), "tick");
  }
  for (size_t i = 0; i < marks.size(); ++i)
    DrawRow(svg, x, top + 20 + (static_cast<double>(i) + 0.5) * kRowPitch, marks[i], value_too);
}

// The picture below `top`, empty without marks.
std::string Drawn(const SweepReport& sweep, const SweepText& text, double width, bool with_legend) {
  const std::vector<SweepRow> rows = SweepRows(sweep);
  const std::vector<Mark> marks = MarksOf(sweep, rows, text);
  if (marks.empty()) return "";
  const bool one_share = sweep.remove.size() == 1;
  const double legend =
      with_legend ? (one_share ? 0 : kLegendRow * static_cast<double>(sweep.variants.size())) + 26 : 0;
  const double plot = one_share     ? 20 + kRowPitch * static_cast<double>(marks.size()) + kPlotBottom
                      : width < 500 ? 320
                                    : 400;
  constexpr double kTop = 12;
  Svg svg(width, legend + kTop + plot,
          fmt::format("Perplexity on {} of each variant, against the dense model", SweepTitle(text)));
  if (with_legend) svg.Text(8, 20, "Perplexity, " + SweepTitle(text), "group");
  for (size_t i = 0; with_legend && !one_share && i < sweep.variants.size(); ++i) {
    const double y = 36 + kLegendRow * static_cast<double>(i);
    const SweepStyle style = StyleOf(i);
    svg.Path(fmt::format("M8 {0}H34", SvgNumber(y)), style.curve);
    svg.Marker(21, y, style.shape, style.mark);
    svg.Text(42, y + 4.5, sweep.variants[i].name, "tick");
  }
  if (one_share)
    DrawRows(svg, marks, text, legend + kTop, legend + kTop + plot);
  else
    DrawLines(svg, marks, text, legend + kTop, legend + kTop + plot);
  return svg.Finish();
}

}  // namespace

std::string SweepChart(const SweepReport& sweep, const SweepText& text, double width) {
  return Drawn(sweep, text, width, false);
}

std::string SweepSvg(const SweepReport& sweep, const SweepText& text) {
  const std::string drawing = Drawn(sweep, text, kFileWidth, true);
  if (drawing.empty()) return "";
  const size_t open = drawing.find('>');
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\"{}>\n<style>{}svg{{background:var(--paper);font-family:system-ui,"
      "sans-serif}}</style>\n{}",
      drawing.substr(4, open - 4), kHtmlStyle, drawing.substr(open + 2));
}

std::string SweepSvgName(const SweepText& text) {
  std::string name = "sweep-" + text.id + ".svg";
  std::replace(name.begin(), name.end(), '/', '-');
  return name;
}

}  // namespace espalier
