// The order of the HTML page and its frame. The parts are in html_parts.cpp and the charts.
#include <fmt/format.h>

#include "espalier/report/charts.h"
#include "espalier/report/html_parts.h"
#include "espalier/report/html_style.h"

namespace espalier {
namespace {

constexpr double kWide = 1032, kNarrow = 358;  // content widths of the page on a desk and on a phone

using Chart = std::string (*)(const ReportView&, double);

// Drawn twice; the style sheet shows the one that fits, so type keeps its size without a script.
std::string Figure(const ReportView& view, Chart chart, const std::string& legend) {
  const std::string wide = chart(view, kWide);
  if (wide.empty()) return "";
  return fmt::format("<figure>{}\n<div class=\"wide\">{}</div>\n<div class=\"narrow\">{}</div>\n</figure>\n", legend,
                     wide, chart(view, kNarrow));
}

std::string Section(std::string_view title, const std::string& note, const std::string& body) {
  if (body.empty()) return "";
  const std::string under = note.empty() ? "" : fmt::format("<p class=\"note\">{}</p>\n", EscapeHtml(note));
  return fmt::format("<section>\n<h2>{}</h2>\n{}{}</section>\n", title, under, body);
}

std::string Head(const ReportView& view) {
  const std::string title = EscapeHtml(view.data.recipe_name.empty() ? "Espalier report" : view.data.recipe_name);
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
      "<title>{} - Espalier</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n",
      title, kHtmlStyle);
}

}  // namespace

std::string RenderHtml(const Json& report) {
  const ReportView view = ReadReport(report);
  std::string page = Head(view);
  page += HtmlHero(view);
  page += HtmlTiles(view);
  page += Section("Models",
                  "Shares are of the dense model. Brackets hold 95 % intervals; × is relative to the dense model "
                  "on the same tokens.",
                  HtmlHeadline(view));
  page += Section("Perplexity", "", Figure(view, PerplexityChart, ""));
  page += Section("Gates", "", HtmlGates(view));
  page += Section("Notices", "", HtmlNotices(view));
  page += Section("What each block keeps", KeptUnitsNote(view), Figure(view, KeptUnitsChart, HtmlKeptLegend(view)));
  page += Section("Cost", BudgetNote(view), HtmlCost(view));
  page +=
      Section("Protected units", "What the protection rules kept, and whether the same budget would have removed it.",
              HtmlProtected(view));
  page += Section("Spike life cycle",
                  "The largest |h| of the residual stream after each block, on a logarithmic scale. A "
                  "few neurons raise it (step-up), later ones take it away (step-down).",
                  Figure(view, LifeCycleChart, HtmlCycleLegend(view)) + HtmlPhenomena(view));
  page += Section("Attention sinks", SinkNote(view), Figure(view, SinkChart, HtmlModelLegend(view)));
  page += Section("Healing", HealingNote(view), Figure(view, HealingChart, HtmlHealingLegend(view)));
  page += HtmlAllFigures(view);
  page += HtmlProvenance(view);
  return page +
         "<footer>Rendered by Espalier from report.json, which holds every "
         "figure.</footer>\n</main>\n</body>\n</html>\n";
}

}  // namespace espalier
