#include "espalier/report/html_parts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/log.h"
#include "espalier/report/charts.h"

namespace espalier {
namespace {

constexpr size_t kMaxProtectedRows = 200;  // a wall of rows helps nobody; report.json has them all

std::string Cell(const std::string& main, const std::string& under = "") {
  return fmt::format("<td class=\"num\">{}{}</td>", EscapeHtml(main),
                     under.empty() ? "" : fmt::format("<small>{}</small>", EscapeHtml(under)));
}

std::string HeadCell(const std::string& main, const std::string& under = "") {
  return fmt::format("<th class=\"num\" scope=\"col\">{}{}</th>", EscapeHtml(main),
                     under.empty() ? "" : fmt::format("<small>{}</small>", EscapeHtml(under)));
}

std::string Capital(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

std::string TextCell(const std::string& text, std::string_view css) {
  return fmt::format("<td class=\"{}\">{}</td>", css, EscapeHtml(text));
}

std::string Table(const std::string& head, const std::string& rows) {
  return fmt::format(
      "<div class=\"scroll\" "
      "tabindex=\"0\">\n<table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>\n</div>\n",
      head, rows);
}

std::string ModelHead(const ReportView& view, const std::string& model) {
  return fmt::format("<th scope=\"row\" class=\"name\"><span class=\"key b{}\"></span>{}</th>",
                     ModelStyle(view.comparison, model), EscapeHtml(model));
}

// Three cells: each size above its share of the dense one.
std::string SizeCells(const ReportView& view, const std::string& name) {
  const ModelSummary* model = FindModel(view.data.models, name);
  if (!model) return Cell("") + Cell("") + Cell("");
  const auto shares = SharesOf(view.data.models, name);
  const auto share = [&shares](double Shares::*member) { return shares ? FormatShare((*shares).*member) : ""; };
  return Cell(FormatCount(model->block_parameters), share(&Shares::block_parameters)) +
         Cell(FormatCount(model->parameters), share(&Shares::total_parameters)) +
         Cell(FormatBytes(static_cast<double>(model->bytes)), share(&Shares::bytes));
}

std::string PerplexityCell(const std::optional<Estimate>& perplexity, const std::optional<Estimate>& ratio) {
  if (!perplexity && !ratio) return Cell("");
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

std::string Tile(const std::string& what, const std::string& figure, const std::string& below) {
  return fmt::format("<li><span class=\"what\">{}</span><b>{}</b>{}</li>\n", EscapeHtml(what), EscapeHtml(figure),
                     below);
}

std::string ShareTile(const std::string& what, double share) {
  return Tile(what, FormatShare(share),
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
  return Tile("Perplexity, " + comparison.corpora[corpus].corpus, FormatRatio(ratio.value), below);
}

std::string PhenomenaRow(const ReportView& view, const Phenomena& model) {
  return fmt::format("<tr>{}{}{}{}{}{}{}</tr>\n", ModelHead(view, model.model),
                     Cell(FormatFigure(model.LargestResidual())), TextCell(FormatRanges(model.spike_channels), "num"),
                     TextCell(SublayersText(model.step_up), "num"), TextCell(SublayersText(model.step_down), "num"),
                     Cell(FormatShare(model.sink_rate)), Cell(FormatShare(model.first_token_mass)));
}

std::string CostRow(const char* what, int64_t dense, int64_t pruned, bool bytes) {
  const auto text = [bytes](int64_t value) {
    return bytes ? FormatBytes(static_cast<double>(value)) : FormatCount(value);
  };
  const double share = dense > 0 ? static_cast<double>(pruned) / static_cast<double>(dense) : NAN;
  return fmt::format("<tr><th scope=\"row\">{}</th>{}{}{}{}</tr>\n", what, Cell(text(dense)), Cell(text(pruned)),
                     Cell(FormatShare(share)), Cell(FormatShare(1 - share)));
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
                        Cell(FormatFigure(metric.value) + (metric.unit.empty() ? "" : " " + metric.unit)),
                        Cell(FormatInterval(estimate)), Cell(FormatCount(metric.count)));
  }
  return rows;
}

}  // namespace

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

std::string HtmlTiles(const ReportView& view) {
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
  return tiles.empty() ? "" : "<ul class=\"tiles\">\n" + tiles + "</ul>\n";
}

std::string HtmlHeadline(const ReportView& view) {
  const Comparison& comparison = view.comparison;
  if (comparison.models.empty()) return "";
  std::string head =
      "<th scope=\"col\">Model</th>" + HeadCell("Block parameters") + HeadCell("All parameters") + HeadCell("Bytes");
  for (const Corpus& corpus : comparison.corpora) head += HeadCell("Perplexity, " + corpus.corpus, corpus.preset);
  for (const std::string& speed : comparison.speeds) head += HeadCell(Capital(speed), "tokens/s");
  std::string rows;
  for (size_t m = 0; m < comparison.models.size(); ++m) {
    rows += "<tr>" + ModelHead(view, comparison.models[m]) + SizeCells(view, comparison.models[m]);
    for (size_t c = 0; c < comparison.corpora.size(); ++c)
      rows += PerplexityCell(comparison.perplexity[m][c], comparison.ratio[m][c]);
    for (const auto& speed : comparison.speed[m])
      rows += speed ? Cell(FormatFigure(speed->value), FormatInterval(*speed)) : Cell("");
    rows += "</tr>\n";
  }
  return Table(head, rows);
}

std::string HtmlGates(const ReportView& view) {
  std::string rows;
  for (const GateOutcome& gate : view.data.gates)
    rows += fmt::format("<tr><td class=\"keep\"><b class=\"{}\">{}</b></td>{}{}</tr>\n", EscapeHtml(gate.verdict),
                        VerdictMark(gate.verdict), TextCell(gate.text, "wrap"), TextCell(gate.detail, "wrap"));
  if (rows.empty()) return "";
  return Table("<th scope=\"col\">Verdict</th><th scope=\"col\">Gate</th><th scope=\"col\">Figures</th>", rows);
}

std::string HtmlNotices(const ReportView& view) {
  std::string items;
  for (const std::string& notice : view.data.notices) items += fmt::format("<li>{}</li>\n", EscapeHtml(notice));
  return items.empty() ? "" : "<ul class=\"plain\">\n" + items + "</ul>\n";
}

std::string HtmlCost(const ReportView& view) {
  if (!view.data.plan) return "";
  const Cost &dense = view.data.plan->dense, &pruned = view.data.plan->pruned;
  return Table(
      "<th scope=\"col\">Cost</th>" + HeadCell("Dense") + HeadCell("Pruned") + HeadCell("Kept") + HeadCell("Removed"),
      CostRow("Block parameters", dense.block_parameters, pruned.block_parameters, false) +
          CostRow("All parameters", dense.total_parameters, pruned.total_parameters, false) +
          CostRow("Bytes", dense.bytes, pruned.bytes, true) +
          CostRow("Key and value cache for a token", dense.kv_bytes, pruned.kv_bytes, true) +
          CostRow("Multiply-accumulates for a token", dense.macs, pruned.macs, false));
}

std::string HtmlProtected(const ReportView& view) {
  if (!view.data.plan || view.data.plan->protected_units.empty()) return "";
  const auto& units = view.data.plan->protected_units;
  std::string rows;
  for (size_t i = 0; i < std::min(units.size(), kMaxProtectedRows); ++i) {
    const ProtectedUnit& unit = units[i];
    rows += fmt::format("<tr>{}{}{}{}{}</tr>\n", TextCell(UnitText(unit.unit), "keep"), TextCell(unit.rule, "keep"),
                        TextCell(unit.reason, "wrap"), Cell(unit.rank > 0 ? FormatCount(unit.rank) : "not ranked"),
                        unit.would_cut ? "<td class=\"keep\"><b class=\"fail\">yes</b></td>" : "<td>no</td>");
  }
  const std::string more =
      units.size() > kMaxProtectedRows
          ? fmt::format("<p class=\"note\">{} more in report.json.</p>\n", units.size() - kMaxProtectedRows)
          : "";
  return Table("<th scope=\"col\">Unit</th><th scope=\"col\">Rule</th><th scope=\"col\">Reason</th>" +
                   HeadCell("Rank in its block") + "<th scope=\"col\">Would have been cut</th>",
               rows) +
         more;
}

std::string HtmlPhenomena(const ReportView& view) {
  if (view.data.phenomena.empty()) return "";
  std::string rows;
  for (const Phenomena& model : view.data.phenomena) rows += PhenomenaRow(view, model);
  std::string flags;
  for (const std::string& flag : PhenomenonFlags(view.data.phenomena))
    flags += fmt::format("<li>{}</li>\n", EscapeHtml(flag));
  return Table("<th scope=\"col\">Model</th>" + HeadCell("Largest |h|") + HeadCell("Spike channels") +
                   HeadCell("Step-up blocks") + HeadCell("Step-down blocks") + HeadCell("Sink rate") +
                   HeadCell("Attention to the first token"),
               rows) +
         (flags.empty() ? "" : "<ul class=\"plain\">\n" + flags + "</ul>\n");
}

std::string HtmlAllFigures(const ReportView& view) {
  std::string rows;
  for (const Results& results : view.data.results) rows += FiguresOf(results);
  if (rows.empty()) return "";
  return "<details>\n<summary>All figures with their protocol</summary>\n" +
         Table("<th scope=\"col\">Metric</th>" + HeadCell("Value") + HeadCell("95 % interval") + HeadCell("Count"),
               rows) +
         "</details>\n";
}

std::string HtmlProvenance(const ReportView& view) {
  std::string rows;
  for (const auto& [name, value] : view.data.provenance)
    rows += fmt::format("<tr><th scope=\"row\" class=\"keep\">{}</th><td class=\"wrap\"><code>{}</code></td></tr>\n",
                        EscapeHtml(name), EscapeHtml(value));
  if (rows.empty()) return "";
  return fmt::format(
      "<details>\n<summary>Provenance</summary>\n<div class=\"scroll\" "
      "tabindex=\"0\">\n<table>\n<tbody>\n{}</tbody>\n</table>\n</div>\n</details>\n",
      rows);
}

}  // namespace espalier
