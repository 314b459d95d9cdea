#include "espalier/report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/report/format.h"

namespace espalier {
namespace {

std::string WithTitle(std::string_view element, std::string_view attributes, std::string_view title) {
  if (title.empty()) return fmt::format("<{} {}/>", element, attributes);
  return fmt::format("<{0} {1}><title>{2}</title></{0}>", element, attributes, EscapeHtml(title));
}

// The step of 1, 2 or 5 times a power of ten that gives about `count` steps.
double RoundStep(double extent, int count) {
  const double raw = extent / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (double factor : {1.0, 2.0, 5.0})
    if (factor * power >= raw * 0.999) return factor * power;
  return 10 * power;
}

}  // namespace

std::string SvgNumber(double value) {
  double rounded = std::round(value * 10) / 10;
  if (rounded == 0) rounded = 0;  // -0
  return rounded == std::floor(rounded) ? fmt::format("{:.0f}", rounded) : fmt::format("{:.1f}", rounded);
}

Svg::Svg(double width, double height, std::string_view label) : width_(width), height_(height), label_(label) {}

void Svg::Line(double x1, double y1, double x2, double y2, std::string_view css) {
  body_ += fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" class=\"{}\"/>\n", SvgNumber(x1), SvgNumber(y1),
                       SvgNumber(x2), SvgNumber(y2), css);
}

void Svg::Rect(double x, double y, double width, double height, std::string_view css, std::string_view title) {
  body_ += WithTitle("rect",
                     fmt::format("x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" class=\"{}\"", SvgNumber(x),
                                 SvgNumber(y), SvgNumber(width), SvgNumber(height), css),
                     title) +
           "\n";
}

void Svg::Path(std::string_view d, std::string_view css, std::string_view title) {
  if (d.empty()) return;
  body_ += WithTitle("path", fmt::format("d=\"{}\" class=\"{}\"", d, css), title) + "\n";
}

void Svg::Text(double x, double y, std::string_view text, std::string_view css) {
  body_ += fmt::format("<text x=\"{}\" y=\"{}\" class=\"{}\">{}</text>\n", SvgNumber(x), SvgNumber(y), css,
                       EscapeHtml(text));
}

void Svg::Marker(double x, double y, size_t shape, std::string_view css, std::string_view title, double scale) {
  const auto number = [scale](double length) { return SvgNumber(scale * length); };
  const auto at = [&](double dx, double dy) { return SvgNumber(x + scale * dx) + " " + SvgNumber(y + scale * dy); };
  switch (shape % 4) {
    case 0:
      Path(fmt::format("M{0}a{1} {1} 0 1 0 {2} 0a{1} {1} 0 1 0 -{2} 0z", at(-3.2, 0), number(3.2), number(6.4)), css,
           title);
      break;
    case 1:
      Path(fmt::format("M{0}h{1}v{1}h-{1}z", at(-2.9, -2.9), number(5.8)), css, title);
      break;
    case 2:
      Path(fmt::format("M{}L{}L{}z", at(0, -4), at(3.8, 2.8), at(-3.8, 2.8)), css, title);
      break;
    default:
      Path(fmt::format("M{}L{}L{}L{}z", at(0, -4.4), at(4.4, 0), at(0, 4.4), at(-4.4, 0)), css, title);
  }
}

std::string Svg::Finish() const {
  return fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n", SvgNumber(width_),
                     SvgNumber(height_), EscapeHtml(label_), body_);
}

double Scale::At(double value) const {
  const double inside = std::clamp(value, low, high);
  const double share = logarithmic ? std::log(inside / low) / std::log(high / low) : (inside - low) / (high - low);
  return from + share * (to - from);
}

std::vector<double> RoundTicks(const Scale& scale, int count) {
  std::vector<double> ticks;
  if (scale.logarithmic) {
    const double first = std::ceil(std::log10(scale.low) - 1e-9), last = std::floor(std::log10(scale.high) + 1e-9);
    const double step = std::max(1.0, std::ceil((last - first) / count));
    for (double power = first; power <= last; power += step) ticks.push_back(std::pow(10, power));
    return ticks;
  }
  const double step = RoundStep(scale.high - scale.low, count);
  for (double i = std::ceil(scale.low / step - 1e-9); i * step <= scale.high + 1e-9 * step; ++i)
    ticks.push_back(i == 0 ? 0 : i * step);
  return ticks;
}

std::vector<std::string> TickTexts(const std::vector<double>& ticks) {
  std::vector<std::string> texts;
  size_t decimals = 0;
  bool small = true;
  for (double tick : ticks) {
    texts.push_back(FormatAxis(tick));
    const size_t point = texts.back().find('.');
    if (point != std::string::npos) decimals = std::max(decimals, texts.back().size() - point - 1);
    small = small && std::fabs(tick) < 1e3;
  }
  for (size_t i = 0; small && i < ticks.size(); ++i) texts[i] = fmt::format("{:.{}f}", ticks[i], decimals);
  return texts;
}

Scale ScaleAround(const std::vector<double>& values, bool zero, bool logarithmic) {
  double low = zero ? 0 : INFINITY, high = zero ? 0 : -INFINITY;
  for (double value : values) {
    if (!std::isfinite(value) || (logarithmic && value <= 0)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (!std::isfinite(low) || !std::isfinite(high)) return {logarithmic ? 1.0 : 0.0, 10, 0, 1, logarithmic};
  if (logarithmic) {
    low = std::pow(10, std::floor(std::log10(low)));
    high = std::max(low * 10, std::pow(10, std::ceil(std::log10(high))));
    return {low, high, 0, 1, true};
  }
  if (high <= low) high = low + std::max(1.0, std::fabs(low));
  const double step = RoundStep(high - low, 5);
  return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, 0, 1, false};
}

std::string PolylinePath(const std::vector<double>& x, const std::vector<double>& y) {
  std::string d;
  bool drawing = false;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    const bool finite = std::isfinite(x[i]) && std::isfinite(y[i]);
    if (finite) d += fmt::format("{}{} {}", drawing ? "L" : "M", SvgNumber(x[i]), SvgNumber(y[i]));
    drawing = finite;
  }
  return d;
}

}  // namespace espalier
