#include <fmt/format.h>
#include <fmt/ranges.h>

#include "espalier/report/format.h"
#include "espalier/report/html_page.h"
#include "espalier/report/svg.h"
#include "espalier/report/sweep.h"
#include "espalier/report/table_script.h"
#include "sweep_style.h"
#include "sweep_view.h"

namespace espalier {
namespace {

std::string Key(size_t style) {
  Svg sample(26, 12, "");
  const SweepStyle look = StyleOf(style);
  sample.Path("M1 6H25", look.curve);
  sample.Marker(13, 6, look.shape, look.mark);
  return sample.Finish();
}

std::string Legend(const SweepReport& sweep) {
  if (sweep.remove.size() == 1) return "";  // every row bears its name
  std::string items;
  for (size_t v = 0; v < sweep.variants.size(); ++v)
    items += fmt::format("<li>{}{}</li>\n", Key(v), EscapeHtml(sweep.variants[v].name));
  return LegendList(items);
}

std::string Charts(const SweepReport& sweep) {
  std::string html;
  for (const SweepText& text : sweep.texts) {
    const std::string figure = HtmlFigure([&](double width) { return SweepChart(sweep, text, width); }, Legend(sweep));
    if (!figure.empty()) html += fmt::format("<h3>{}</h3>\n{}", EscapeHtml(SweepTitle(text)), figure);
  }
  return html;
}

std::string FigureCell(const SweepColumn::Cell& cell) {
  if (cell.under.empty() || cell.range.empty()) return NumberCell(cell.text, cell.under + cell.range);
  return fmt::format("<td class=\"num\">{}<small>{}<br>{}</small></td>", EscapeHtml(cell.text), EscapeHtml(cell.under),
                     EscapeHtml(cell.range));
}

std::string Table(const SweepReport& sweep) {
  const std::vector<SweepColumn> columns = SweepColumns(sweep);
  std::string head, rows;
  for (const SweepColumn& column : columns)
    head += column.is_text ? TextHead(column.head) : HeadCell(column.head, column.under);
  for (size_t row = 0; row < columns.front().cells.size(); ++row) {
    rows += "<tr>";
    for (const SweepColumn& column : columns) {
      const SweepColumn::Cell& cell = column.cells[row];
      rows += column.is_text ? TextCell(cell.text, "name") : FigureCell(cell);
    }
    rows += "</tr>\n";
  }
  return HtmlTable(head, rows, {.dense = true, .sortable = true, .choice = 0});
}

std::string Variants(const SweepReport& sweep) {
  std::string rows;
  for (const SweepVariant& variant : sweep.variants)
    rows += fmt::format("<tr><th scope=\"row\" class=\"keep\">{}</th>{}<td class=\"wrap\"><code>{}</code></td></tr>\n",
                        EscapeHtml(variant.name), TextCell(variant.method, "wrap"),
                        EscapeHtml(fmt::format("{}", fmt::join(variant.set, " "))));
  return HtmlTable(TextHead("variant") + TextHead("method") + TextHead("laid over the recipe"), rows);
}

std::string Protocols(const SweepReport& sweep) {
  std::string rows;
  for (const SweepText& text : sweep.texts) {
    std::string protocol;
    for (const NameValue& line : text.protocol)
      protocol += fmt::format("{}{} {}", protocol.empty() ? "" : "; ", PlainName(line.name), line.value);
    rows += fmt::format(
        "<tr><th scope=\"row\" class=\"keep\">{}</th>{}<td class=\"wrap\">{}</td></tr>\n", EscapeHtml(SweepTitle(text)),
        NumberCell(FormatFigure(text.dense), FormatInterval({text.dense, text.dense_low, text.dense_high, 0})),
        EscapeHtml(protocol));
  }
  return HtmlTable(TextHead("text") + HeadCell("dense perplexity") + TextHead("protocol"), rows);
}

}  // namespace

std::string RenderSweepHtml(const SweepReport& sweep) {
  const std::string title = sweep.question.empty() ? sweep.name : sweep.question;
  std::string page = HtmlHead(sweep.name.empty() ? "Espalier sweep" : sweep.name, kTableScript);
  page += fmt::format(
      "<header>\n<p class=\"eyebrow\">Espalier sweep · {}</p>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n</header>\n",
      EscapeHtml(sweep.name), EscapeHtml(title.empty() ? "Sweep" : title), EscapeHtml(SweepSummary(sweep)));
  page += HtmlAlert("Failed cells", SweepFailures(sweep));
  page += HtmlSection("Perplexity", SweepChartNote(sweep), Charts(sweep));
  page += HtmlSection("All figures", SweepTableNote(sweep), Table(sweep));
  page += HtmlSection("Variants", "", Variants(sweep));
  page += HtmlSection("Protocols", "", Protocols(sweep));
  std::vector<std::pair<std::string, std::string>> provenance;
  for (const NameValue& line : sweep.provenance) provenance.emplace_back(line.name, line.value);
  page += HtmlProvenanceTable(provenance);
  return page + HtmlTail("Rendered by Espalier from sweep.json, which holds every figure.", kTableScript);
}

}  // namespace espalier
