#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/log.h"
#include "espalier/report/format.h"
#include "espalier/report/html_page.h"
#include "espalier/report/plot.h"
#include "espalier/report/svg.h"
#include "sweep_style.h"
#include "training_view.h"

namespace espalier {
namespace {

std::string Table(const TrainingTable& table) {
  std::string head, rows;
  for (size_t c = 0; c < table.head.size(); ++c) head += c == 0 ? TextHead(table.head[c]) : HeadCell(table.head[c]);
  for (const std::vector<std::string>& row : table.rows) {
    rows += fmt::format("<tr><th scope=\"row\" class=\"keep\">{}</th>", EscapeHtml(row.front()));
    for (size_t c = 1; c < row.size(); ++c) {  // what stands behind the mean goes under it
      const size_t cut = row[c].find(" (");
      rows += cut == std::string::npos ? NumberCell(row[c]) : NumberCell(row[c].substr(0, cut), row[c].substr(cut + 1));
    }
    rows += "</tr>\n";
  }
  return HtmlTable(head, rows, {.dense = true});
}

std::string Section(const char* title, const char* note, const TrainingTable& table) {
  return table.rows.empty() ? "" : HtmlSection(title, note, Table(table));
}

size_t PlaceOf(const TrainingReport& report, const std::string& variant) {
  const auto found = std::ranges::find(report.variants, variant, &TrainingVariant::name);
  return static_cast<size_t>(found - report.variants.begin());
}

std::string Legend(const TrainingReport& report) {
  std::string items;
  for (size_t v = 0; v < report.variants.size(); ++v) {
    Svg sample(26, 12, "");
    const SweepStyle look = StyleOf(v);
    sample.Path("M1 6H25", look.curve);
    sample.Marker(13, 6, look.shape, look.mark);
    items += fmt::format("<li>{}{}</li>\n", sample.Finish(), EscapeHtml(report.variants[v].name));
  }
  return LegendList(items);
}

std::string Variants(const TrainingReport& report) {
  std::string rows;
  for (const TrainingVariant& variant : report.variants)
    rows += fmt::format("<tr><th scope=\"row\" class=\"keep\">{}</th><td class=\"wrap\"><code>{}</code></td></tr>\n",
                        EscapeHtml(variant.name), EscapeHtml(fmt::format("{}", fmt::join(variant.set, " "))));
  return HtmlTable(TextHead("variant") + TextHead("laid over the recipe"), rows);
}

void DrawCell(Svg& svg, const Scale& x_scale, const Scale& y_scale, const TrainingCell& cell, size_t place) {
  const SweepStyle look = StyleOf(place);
  std::vector<double> x, y;
  const TrainingCurve& curve = cell.run->curve;
  for (size_t i = 0; i < curve.held_out_loss.size(); ++i) {
    x.push_back(x_scale.At(static_cast<double>(curve.held_out_tokens[i])));
    y.push_back(HeightAt(y_scale, curve.held_out_loss[i]));
  }
  svg.Path(PolylinePath(x, y), look.curve);
  for (size_t i = 0; i < x.size(); ++i)
    if (std::isfinite(y[i]))
      svg.Marker(x[i], y[i], look.shape, look.mark,
                 fmt::format("{}, seed {}, rate {:g}, after {} tokens: {:.3f}", cell.variant, cell.seed,
                             cell.learning_rate, FormatCount(curve.held_out_tokens[i]), curve.held_out_loss[i]),
                 0.6);
}

}  // namespace

std::string TrainingChart(const TrainingReport& report, double width) {
  std::vector<double> losses, tokens;
  for (const TrainingCell& cell : report.cells) {
    if (!cell.run) continue;
    const TrainingCurve& curve = cell.run->curve;
    losses.insert(losses.end(), curve.held_out_loss.begin(), curve.held_out_loss.end());
    tokens.insert(tokens.end(), curve.held_out_tokens.begin(), curve.held_out_tokens.end());
  }
  if (losses.empty()) return "";
  constexpr double kHeight = 320, kTop = 12;
  Svg svg(width, kHeight, "Held-out loss while training");
  Scale y_scale = ScaleAround(losses, false, false);
  y_scale.from = kHeight - kPlotBottom, y_scale.to = kTop;
  const Scale x_scale = {0, std::max(*std::ranges::max_element(tokens), 1.0), kPlotLeft, width - kPlotRight - 8, false};
  DrawValueAxis(svg, y_scale, "");
  for (const double tick : RoundTicks(x_scale, width < 500 ? 4 : 8))
    svg.Text(x_scale.At(tick), kHeight - kPlotBottom + 16, FormatAxis(tick), "tick mid");
  svg.Text((kPlotLeft + width - kPlotRight) / 2, kHeight - 4, "tokens seen", "axis mid");
  for (const TrainingCell& cell : report.cells)
    if (cell.run) DrawCell(svg, x_scale, y_scale, cell, PlaceOf(report, cell.variant));
  return svg.Finish();
}

std::string RenderTrainingHtml(const TrainingReport& report) {
  std::string page = HtmlHead(report.name);
  page += fmt::format(
      "<header>\n<p class=\"eyebrow\">Espalier training · {}</p>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n</header>\n",
      EscapeHtml(report.name), EscapeHtml(report.question.empty() ? report.name : report.question),
      EscapeHtml(TrainingSummary(report)));
  page += HtmlAlert("Cells that diverged or failed", TrainingFailures(report));
  page += Section("Figures", "", TrainingFigures(report));
  page += Section("Orderings", "Differences to the first variant, paired by seed: an ordering where all seeds agree.",
                  TrainingOrderings(report));
  page += Section("Stability", "Held-out loss of each seed at each learning rate.", TrainingStability(report));
  if (!TrainingChart(report, 640).empty())
    page += HtmlSection("Held-out loss", "A line a seed.",
                        HtmlFigure([&](double width) { return TrainingChart(report, width); }, Legend(report)));
  page += HtmlSection("Variants", "", Variants(report));
  std::vector<std::pair<std::string, std::string>> provenance;
  for (const NameValue& line : report.provenance) provenance.emplace_back(line.name, line.value);
  page += HtmlProvenanceTable(provenance);
  return page + HtmlTail("Rendered by Espalier from training.json, which holds every figure.");
}

}  // namespace espalier
