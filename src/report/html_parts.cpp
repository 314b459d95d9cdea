#include "espalier/report/html_parts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/log.h"
#include "espalier/report/charts.h"
#include "espalier/report/html_page.h"
#include "espalier/report/phenomena_text.h"

namespace espalier {
namespace {

constexpr size_t kMaxProtectedRows = 200;  // a wall of rows helps nobody; report.json has them all

// Three cells: each size above its share of the dense one.
std::string SizeCells(const ReportView& view, const std::string& name) {
  const ModelSummary* model = FindModel(view.data.models, name);
  if (!model) return NumberCell("") + NumberCell("") + NumberCell("");
  const auto shares = SharesOf(view.data.models, name);
  const auto share = [&shares](double Shares::*member) { return shares ? FormatShare((*shares).*member) : ""; };
  return NumberCell(FormatCount(model->block_parameters), share(&Shares::block_parameters)) +
         NumberCell(FormatCount(model->parameters), share(&Shares::total_parameters)) +
         NumberCell(FormatBytes(static_cast<double>(model->bytes)), share(&Shares::bytes));
}

std::string PerplexityCell(const std::optional<Estimate>& perplexity, const std::optional<Estimate>& ratio) {
  if (!perplexity && !ratio) return NumberCell("");
  std::string under;
  if (perplexity) under = EscapeHtml(FormatInterval(*perplexity));
  if (ratio)
    under += fmt::format("{}{} {}", under.empty() ? "" : "<br>", FormatRatio(ratio->value), FormatInterval(*ratio));
  return fmt::format("<td class=\"num\">{}<small>{}</small></td>",
                     perplexity ? FormatFigure(perplexity->value) : std::string(), under);
}

std::string VerdictMark(const std::string& verdict) {
  return verdict == "pass" ? "✓ pass" : verdict == "fail" ? "✗ fail" : "? inconclusive";
}

std::string ShareTile(const std::string& what, double share) {
  return HtmlTile(what, FormatShare(share),
                  fmt::format("<span class=\"meter\"><i style=\"width:{:.1f}%\"></i></span><small>{} removed</small>",
                              std::isfinite(share) ? std::clamp(100 * share, 0.0, 100.0) : 0.0,
                              EscapeHtml(FormatShare(1 - share))));
}

// The model that the tiles speak of: what was pruned, before any healing.
std::optional<size_t> MainModel(const Comparison& comparison) {
  for (size_t i = 0; i < comparison.models.size(); ++i)
    if (comparison.models[i] != "dense") return i;
  return std::nullopt;
}

// "pruned, 95 % interval [1.41, 1.46]", then a line for each further model.
std::string RatioTile(const Comparison& comparison, size_t main, size_t corpus) {
  const Estimate& ratio = *comparison.ratio[main][corpus];
  const std::string interval = FormatInterval(ratio);
  std::string below =
      fmt::format("<small>{}{}</small>", EscapeHtml(comparison.models[main]), interval.empty() ? "" : " " + interval);
  for (size_t m = main + 1; m < comparison.models.size(); ++m)
    if (comparison.ratio[m][corpus])
      below += fmt::format("<small>{} {}</small>", EscapeHtml(comparison.models[m]),
                           FormatRatio(comparison.ratio[m][corpus]->value));
  if (!comparison.corpora[corpus].preset.empty())
    below += fmt::format("<small>{}</small>", EscapeHtml(comparison.corpora[corpus].preset));
  return HtmlTile("Perplexity, " + comparison.corpora[corpus].corpus, FormatRatio(ratio.value), below);
}

std::string CostRow(const char* what, int64_t dense, int64_t pruned, bool bytes) {
  const auto text = [bytes](int64_t value) {
    return bytes ? FormatBytes(static_cast<double>(value)) : FormatCount(value);
  };
  const double share = dense > 0 ? static_cast<double>(pruned) / static_cast<double>(dense) : NAN;
  return fmt::format("<tr><th scope=\"row\">{}</th>{}{}{}{}</tr>\n", what, NumberCell(text(dense)),
                     NumberCell(text(pruned)), NumberCell(FormatShare(share)), NumberCell(FormatShare(1 - share)));
}

std::string FiguresOf(const Results& results) {
  std::vector<std::string> protocol;
  for (const auto& [key, value] : results.protocol) protocol.push_back(fmt::format("{} {}", PlainName(key), value));
  std::string rows = fmt::format("<tr><th scope=\"rowgroup\" colspan=\"4\">{} of {}<small>{}</small></th></tr>\n",
                                 EscapeHtml(results.id), EscapeHtml(results.model),
                                 EscapeHtml(fmt::format("{}", fmt::join(protocol, "; "))));
  for (const Metric& metric : results.metrics) {
    const Estimate estimate = {metric.value, metric.low, metric.high, metric.count};
    const std::string name = PlainName(metric.name) + (metric.of.empty() ? "" : ", relative to " + metric.of);
    rows += fmt::format("<tr>{}{}{}{}</tr>\n", TextCell(name, "keep"),
                        NumberCell(FormatFigure(metric.value) + (metric.unit.empty() ? "" : " " + metric.unit)),
                        NumberCell(FormatInterval(estimate)), NumberCell(FormatCount(metric.count)));
  }
  return rows;
}

}  // namespace

std::string HtmlModelHead(const ReportView& view, const std::string& model, std::string_view css,
                          std::string_view scope) {
  return fmt::format("<th scope=\"{}\" class=\"{}\"><span class=\"key b{}\"></span>{}</th>", scope, css,
                     ModelStyle(view.comparison, model), EscapeHtml(model));
}

std::string HtmlHero(const ReportView& view) {
  const std::string& title = view.data.question.empty() ? view.data.recipe_name : view.data.question;
  std::string hero = fmt::format("<header>\n<p class=\"eyebrow\">Espalier report · {}</p>\n<h1>{}</h1>\n",
                                 EscapeHtml(view.data.recipe_name), EscapeHtml(title.empty() ? "Report" : title));
  if (view.verdict != "none") {
    const auto passed = std::count_if(view.data.gates.begin(), view.data.gates.end(),
                                      [](const GateOutcome& gate) { return gate.verdict == "pass"; });
    hero += fmt::format("<p class=\"verdict {}\">{}: {} of {} gates passed</p>\n", EscapeHtml(view.verdict),
                        VerdictMark(view.verdict), passed, view.data.gates.size());
  }
  return hero + fmt::format("<p class=\"lead\">{}</p>\n</header>\n", EscapeHtml(view.summary));
}

std::string HtmlShareTiles(const ReportView& view) {
  const auto main = MainModel(view.comparison);
  if (!main) return "";
  std::string tiles;
  if (const auto shares = SharesOf(view.data.models, view.comparison.models[*main])) {
    tiles += ShareTile("Block parameters kept", shares->block_parameters);
    tiles += ShareTile("All parameters kept", shares->total_parameters);
    tiles += ShareTile("Bytes kept", shares->bytes);
  }
  for (size_t c = 0; c < view.comparison.corpora.size(); ++c)
    if (view.comparison.ratio[*main][c]) tiles += RatioTile(view.comparison, *main, c);
  return HtmlTiles(tiles);
}

std::string HtmlHeadline(const ReportView& view) {
  const Comparison& comparison = view.comparison;
  if (comparison.models.empty()) return "";
  std::string head = TextHead("Model") + HeadCell("Block parameters") + HeadCell("All parameters") + HeadCell("Bytes");
  for (const Corpus& corpus : comparison.corpora) head += HeadCell("Perplexity, " + corpus.corpus, corpus.preset);
  for (const std::string& speed : comparison.speeds) head += HeadCell(Capital(speed), "tokens/s");
  std::string rows;
  for (size_t m = 0; m < comparison.models.size(); ++m) {
    rows += "<tr>" + HtmlModelHead(view, comparison.models[m]) + SizeCells(view, comparison.models[m]);
    for (size_t c = 0; c < comparison.corpora.size(); ++c)
      rows += PerplexityCell(comparison.perplexity[m][c], comparison.ratio[m][c]);
    for (const auto& speed : comparison.speed[m])
      rows += speed ? NumberCell(FormatFigure(speed->value), FormatInterval(*speed)) : NumberCell("");
    rows += "</tr>\n";
  }
  return HtmlTable(head, rows);
}

std::string HtmlGates(const ReportView& view) {
  std::string rows;
  for (const GateOutcome& gate : view.data.gates)
    rows += fmt::format("<tr><td class=\"keep\"><b class=\"{}\">{}</b></td>{}{}</tr>\n", EscapeHtml(gate.verdict),
                        VerdictMark(gate.verdict), TextCell(gate.text, "wrap"), TextCell(gate.detail, "wrap"));
  if (rows.empty()) return "";
  return HtmlTable("<th scope=\"col\">Verdict</th><th scope=\"col\">Gate</th><th scope=\"col\">Figures</th>", rows);
}

std::string HtmlNotices(const ReportView& view) {
  return HtmlList(view.data.notices);
}

std::string HtmlCost(const ReportView& view) {
  if (!view.data.plan) return "";
  const Cost &dense = view.data.plan->dense, &pruned = view.data.plan->pruned;
  return HtmlTable(TextHead("Cost") + HeadCell("Dense") + HeadCell("Pruned") + HeadCell("Kept") + HeadCell("Removed"),
                   CostRow("Block parameters", dense.block_parameters, pruned.block_parameters, false) +
                       CostRow("All parameters", dense.total_parameters, pruned.total_parameters, false) +
                       CostRow("Bytes", dense.bytes, pruned.bytes, true) +
                       CostRow("Key and value cache for a token", dense.kv_bytes, pruned.kv_bytes, true) +
                       CostRow("Multiply-accumulates for a token", dense.macs, pruned.macs, false) +
                       (dense.picoseconds > 0 ? CostRow("Picoseconds for a token of a prefill, estimated",
                                                        dense.picoseconds, pruned.picoseconds, false)
                                              : ""));
}

std::string HtmlProtected(const ReportView& view) {
  if (!view.data.plan || view.data.plan->protected_units.empty()) return "";
  const auto& units = view.data.plan->protected_units;
  std::string rows;
  for (size_t i = 0; i < std::min(units.size(), kMaxProtectedRows); ++i) {
    const ProtectedUnit& unit = units[i];
    rows +=
        fmt::format("<tr>{}{}{}{}{}</tr>\n", TextCell(UnitText(unit.unit), "keep"), TextCell(unit.rule, "keep"),
                    TextCell(unit.reason, "wrap"), NumberCell(unit.rank > 0 ? FormatCount(unit.rank) : "not ranked"),
                    unit.would_cut ? "<td class=\"keep\"><b class=\"fail\">yes</b></td>" : "<td>no</td>");
  }
  const std::string more =
      units.size() > kMaxProtectedRows
          ? fmt::format("<p class=\"note\">{} more in report.json.</p>\n", units.size() - kMaxProtectedRows)
          : "";
  return HtmlTable("<th scope=\"col\">Unit</th><th scope=\"col\">Rule</th><th scope=\"col\">Reason</th>" +
                       HeadCell("Rank in its block") + TextHead("Would have been cut"),
                   rows) +
         more;
}

std::string HtmlPhenomena(const ReportView& view) {
  if (view.data.phenomena.empty()) return "";
  std::string head = TextHead("Figure"), rows;
  for (const Phenomena& model : view.data.phenomena) head += HtmlModelHead(view, model.model, "num", "col");
  for (const KeyFigureRow& row : CompareKeyFigures(view.data.phenomena)) {
    rows += fmt::format("<tr><th scope=\"row\">{}</th>", EscapeHtml(Capital(row.name)));
    for (const std::string& text : row.texts) rows += NumberCell(text);
    rows += "</tr>\n";
  }
  return HtmlAlert("Flags", PhenomenonFlags(view.data)) + HtmlTable(head, rows, {.dense = true});
}

std::string HtmlAllFigures(const ReportView& view) {
  std::string rows;
  for (const Results& results : view.data.results) rows += FiguresOf(results);
  if (rows.empty()) return "";
  return HtmlDetails(
      "All figures with their protocol", "",
      HtmlTable(TextHead("Metric") + HeadCell("Value") + HeadCell("95 % interval") + HeadCell("Count"), rows));
}

std::string HtmlProvenance(const ReportView& view) {
  return HtmlProvenanceTable(view.data.provenance);
}

}  // namespace espalier
