// Legends of the run report's own charts.
#include "espalier/report/html_page.h"
#include "espalier/report/html_parts.h"

namespace espalier {
namespace {

constexpr std::string_view kSquare = "M7 0H19V12H7z";

}  // namespace

std::string HtmlKeptLegend(const ReportView& view) {
  if (!view.data.plan) return "";
  std::string items = LegendPath(kSquare, "kept", "kept") + LegendPath(kSquare, "cut", "removed");
  if (view.data.plan->protected_units.empty()) return LegendList(items);
  return LegendList(items + LegendMarker(3, "mark protected", "protected FFN channels in the block") +
                    LegendPath("M8 1H18V11H8z", "ring", "protected KV group"));
}

std::string HtmlHealingLegend(const ReportView& view) {
  if (!view.data.healing) return "";
  std::string items = LegendPath("M1 6H25", "curve thin", "training loss");
  if (!view.data.healing->validation_loss.empty()) items += LegendCurve(2, "validation loss");
  return LegendList(items);
}

}  // namespace espalier
