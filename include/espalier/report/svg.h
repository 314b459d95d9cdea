#pragma once
// Inline SVG for the HTML page. Colours and type come from the page's style sheet by class; same input, same bytes.
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

class Svg {
 public:
  // `label` is what a screen reader says.
  Svg(double width, double height, std::string_view label);

  // `title` is shown while the pointer rests on the shape; empty: none.
  void Line(double x1, double y1, double x2, double y2, std::string_view css);
  void Rect(double x, double y, double width, double height, std::string_view css, std::string_view title = "");
  void Path(std::string_view d, std::string_view css, std::string_view title = "");
  void Text(double x, double y, std::string_view text, std::string_view css);
  // A marker of about 8 pixels times `scale`: circle, square, triangle, diamond, by `shape` modulo 4.
  void Marker(double x, double y, size_t shape, std::string_view css, std::string_view title = "", double scale = 1);
  double width() const { return width_; }
  std::string Finish() const;

 private:
  std::string body_;
  double width_, height_;
  std::string label_;
};

// Coordinates with at most one decimal: "12", "12.5", never "-0".
std::string SvgNumber(double value);

// Maps values to pixels. Logarithmic scales need 0 < low.
struct Scale {
  double low = 0, high = 1;  // values
  double from = 0, to = 1;   // pixels
  bool logarithmic = false;
  double At(double value) const;  // clamped to the scale
};

// Round values inside [low, high], about `count` of them; on a logarithmic scale powers of ten.
std::vector<double> RoundTicks(const Scale& scale, int count);
// "3.9", "4.0": as many decimals for each as one of them needs; thousands as FormatAxis writes them.
std::vector<std::string> TickTexts(const std::vector<double>& ticks);
// A scale from round value to round value around the finite values of `values`; from 0 when `zero`. Never of no extent.
Scale ScaleAround(const std::vector<double>& values, bool zero, bool logarithmic);

// A line through the finite points; a gap where one is not finite.
std::string PolylinePath(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace espalier
