// The order of the HTML page and its frame. The parts are in html_parts.cpp and the charts.
#include "espalier/report/charts.h"
#include "espalier/report/html_page.h"
#include "espalier/report/html_parts.h"
#include "espalier/report/report.h"

namespace espalier {
std::string RenderHtml(const Json& report) {
  const ReportView view = ReadReport(report);
  const StyledModels analysed = AnalysedModels(view);
  const auto chart = [&view](std::string (*draw)(const ReportView&, double)) {
    return [&view, draw](double width) { return draw(view, width); };
  };
  std::string page = HtmlHead(view.data.recipe_name.empty() ? "Espalier report" : view.data.recipe_name);
  page += HtmlHero(view);
  page += HtmlShareTiles(view);
  page += HtmlSection("Models",
                      "Shares are of the dense model. Brackets hold 95 % intervals; × is relative to the dense model "
                      "on the same tokens.",
                      HtmlHeadline(view));
  page += HtmlSection("Perplexity", "", HtmlFigure(chart(PerplexityChart), ""));
  page += HtmlSection("Gates", "", HtmlGates(view));
  page += HtmlSection("Notices", "", HtmlNotices(view));
  page += HtmlSection("What each block keeps", KeptUnitsNote(view),
                      HtmlFigure(chart(KeptUnitsChart), HtmlKeptLegend(view)));
  page += HtmlSection("Cost", BudgetNote(view), HtmlCost(view));
  page += HtmlSection("Protected units",
                      "What the protection rules kept, and whether the same budget would have removed it.",
                      HtmlProtected(view));
  page +=
      HtmlSection("Spikes and sinks",
                  "Both taps of every half block, on a logarithmic scale: the residual stream after the addition, and "
                  "what is added. Step-up and step-down are marked for the first model.",
                  HtmlPhenomena(view) + HtmlFigure([&](double width) { return LifeCycleChart(analysed, width); },
                                                   LifeCycleLegend(analysed)));
  page += HtmlSection("Attention sinks", SinkNote(view),
                      HtmlFigure([&](double width) { return SinkShareChart(analysed, width); }, ModelLegend(analysed)));
  page += HtmlSection("Long context", "Whiskers and brackets are 95 % intervals.", HtmlGrids(view));
  page += HtmlSection("Healing", HealingNote(view), HtmlFigure(chart(HealingChart), HtmlHealingLegend(view)));
  page += HtmlAllFigures(view);
  page += HtmlProvenance(view);
  return page + HtmlTail("Rendered by Espalier from report.json, which holds every figure.");
}

}  // namespace espalier
