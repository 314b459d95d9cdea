// Legends of the charts: the same marks as in the chart, beside their names.
#include <fmt/format.h>

#include "espalier/report/charts.h"
#include "espalier/report/html_parts.h"
#include "espalier/report/svg.h"

namespace espalier {
namespace {

std::string Item(const Svg& sample, const std::string& text) {
  return fmt::format("<li>{}{}</li>\n", sample.Finish(), EscapeHtml(text));
}

std::string CurveItem(size_t style, const std::string& text) {
  Svg sample(26, 12, text);
  sample.Path("M1 6H25", fmt::format("curve s{}", style));
  sample.Marker(13, 6, style, fmt::format("mark m{}", style));
  return Item(sample, text);
}

std::string PathItem(std::string_view d, std::string_view css, const std::string& text) {
  Svg sample(26, 12, text);
  sample.Path(d, css);
  return Item(sample, text);
}

std::string List(const std::string& items) {
  return "<ul class=\"legend\">\n" + items + "</ul>";
}

std::string ModelItems(const ReportView& view, const std::string& tail) {
  std::string items;
  for (const Phenomena& model : view.data.phenomena)
    items += CurveItem(ModelStyle(view.comparison, model.model), model.model + tail);
  return items;
}

constexpr std::string_view kSquare = "M7 0H19V12H7z";

}  // namespace

std::string HtmlModelLegend(const ReportView& view) {
  return view.data.phenomena.empty() ? "" : List(ModelItems(view, ""));
}

std::string HtmlCycleLegend(const ReportView& view) {
  if (view.data.phenomena.empty()) return "";
  return List(ModelItems(view, ", largest |h|") + PathItem("M1 6H25", "curve dotted s0", "median |h|") +
              PathItem("M13 1L18 10L8 10z", "glyph up", "step-up block") +
              PathItem("M13 11L18 2L8 2z", "glyph down", "step-down block"));
}

std::string HtmlKeptLegend(const ReportView& view) {
  if (!view.data.plan) return "";
  std::string items = PathItem(kSquare, "kept", "kept") + PathItem(kSquare, "cut", "removed");
  if (view.data.plan->protected_units.empty()) return List(items);
  Svg channel(26, 12, "protected FFN channel");
  channel.Marker(13, 6, 3, "mark protected");
  return List(items + Item(channel, "protected FFN channels in the block") +
              PathItem("M8 1H18V11H8z", "ring", "protected KV group"));
}

std::string HtmlHealingLegend(const ReportView& view) {
  if (!view.data.healing) return "";
  std::string items = PathItem("M1 6H25", "curve thin", "training loss");
  if (!view.data.healing->validation_loss.empty()) items += CurveItem(2, "validation loss");
  return List(items);
}

}  // namespace espalier
