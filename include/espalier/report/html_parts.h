#pragma once
// The parts of the run report's page, in the order in which they appear. A part that the report has nothing for is
// empty.
#include <string>
#include <string_view>

#include "espalier/report/view.h"

namespace espalier {

std::string HtmlHero(const ReportView& view);        // question, verdict, summary
std::string HtmlShareTiles(const ReportView& view);  // the three shares, and the ratio on each corpus
std::string HtmlHeadline(const ReportView& view);    // models against size, perplexity, speed
std::string HtmlGates(const ReportView& view);
std::string HtmlNotices(const ReportView& view);
std::string HtmlCost(const ReportView& view);  // of the plan, dense and pruned
std::string HtmlProtected(const ReportView& view);
std::string HtmlPhenomena(const ReportView& view);   // spikes and sinks of each model, flags
std::string HtmlGrids(const ReportView& view);       // curves and grids of long contexts
std::string HtmlAllFigures(const ReportView& view);  // every metric with its protocol, folded
std::string HtmlProvenance(const ReportView& view);  // folded

// A model's name as the head of a row or a column, with the key of its colour.
std::string HtmlModelHead(const ReportView& view, const std::string& model, std::string_view css = "name",
                          std::string_view scope = "row");
std::string HtmlKeptLegend(const ReportView& view);
std::string HtmlHealingLegend(const ReportView& view);

// One line under a title, plain text; Markdown uses them too.
std::string BudgetNote(const ReportView& view);
std::string KeptUnitsNote(const ReportView& view);
std::string SinkNote(const ReportView& view);
std::string HealingNote(const ReportView& view);

}  // namespace espalier
