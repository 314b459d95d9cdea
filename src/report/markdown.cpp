#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "espalier/core/log.h"
#include "espalier/report/html_parts.h"
#include "espalier/report/markdown_table.h"
#include "espalier/report/phenomena_text.h"
#include "espalier/report/report.h"
#include "espalier/report/view.h"

namespace espalier {
namespace {

constexpr size_t kMaxCharacters = 60000;  // GitHub refuses a comment of more than 65,536
constexpr size_t kMaxRows = 40;           // of protected units and figures; report.json has all

using Row = std::vector<std::string>;

// `left`: how many columns hold text; the rest are figures, right-aligned. Cells are Markdown.
std::string Table(const Row& head, const std::vector<Row>& rows, size_t left) {
  Row rule;
  for (size_t i = 0; i < head.size(); ++i) rule.push_back(i < left ? "---" : "---:");
  std::string table = MarkdownRow(head) + MarkdownRow(rule);
  for (const Row& row : rows) table += MarkdownRow(row);
  return table;
}

std::string PerplexityText(const std::optional<Estimate>& perplexity, const std::optional<Estimate>& ratio) {
  std::vector<std::string> parts;
  if (perplexity) parts.push_back(FormatFigure(perplexity->value));
  if (perplexity && perplexity->low) parts.push_back(EscapeMarkdown(FormatInterval(*perplexity)));
  if (ratio) parts.push_back(FormatRatio(ratio->value));
  if (ratio && ratio->low) parts.push_back(EscapeMarkdown(FormatInterval(*ratio)));
  return fmt::format("{}", fmt::join(parts, " "));
}

std::string Headline(const ReportView& view) {
  const Comparison& comparison = view.comparison;
  if (comparison.models.empty()) return "";
  Row head = {"model", "block parameters", "all parameters", "bytes"};
  for (const Corpus& corpus : comparison.corpora) head.push_back("perplexity " + EscapeMarkdown(corpus.Title()));
  for (const std::string& speed : comparison.speeds) head.push_back(EscapeMarkdown(speed) + " tokens/s");
  std::vector<Row> rows;
  for (size_t m = 0; m < comparison.models.size(); ++m) {
    const std::string& name = comparison.models[m];
    const ModelSummary* model = FindModel(view.data.models, name);
    const auto shares = SharesOf(view.data.models, name);
    const auto with = [&shares](const std::string& text, double Shares::*share) {
      return shares ? fmt::format("{} ({})", text, FormatShare((*shares).*share)) : text;
    };
    Row row = {EscapeMarkdown(name)};
    row.push_back(model ? with(FormatCount(model->block_parameters), &Shares::block_parameters) : "");
    row.push_back(model ? with(FormatCount(model->parameters), &Shares::total_parameters) : "");
    row.push_back(model ? with(FormatBytes(static_cast<double>(model->bytes)), &Shares::bytes) : "");
    for (size_t c = 0; c < comparison.corpora.size(); ++c)
      row.push_back(PerplexityText(comparison.perplexity[m][c], comparison.ratio[m][c]));
    for (const auto& speed : comparison.speed[m]) row.push_back(speed ? FormatFigure(speed->value) : "");
    rows.push_back(row);
  }
  return Table(head, rows, 1) +
         "\nBrackets hold 95 % intervals; × is relative to the dense model on the same tokens.\n";
}

std::string Gates(const ReportView& view) {
  if (view.data.gates.empty()) return "";
  std::vector<Row> rows;
  for (const GateOutcome& gate : view.data.gates)
    rows.push_back({"**" + gate.verdict + "**", EscapeMarkdown(gate.text), EscapeMarkdown(gate.detail)});
  return "## Gates\n\n" + Table({"verdict", "gate", "figures"}, rows, 3);
}

std::string Notices(const ReportView& view) {
  if (view.data.notices.empty()) return "";
  std::string text = "## Notices\n\n";
  for (const std::string& notice : view.data.notices) text += "- " + EscapeMarkdown(notice) + "\n";
  return text;
}

std::string KeptText(const KeptUnits& units) {
  return fmt::format("{} of {}", FormatCount(static_cast<int64_t>(units.kept.size())), FormatCount(units.before));
}

std::string PlanText(const ReportView& view) {
  if (!view.data.plan) return "";
  const Plan& plan = *view.data.plan;
  std::string text =
      fmt::format("## What was cut\n\n{} {}\n", EscapeMarkdown(BudgetNote(view)), EscapeMarkdown(KeptUnitsNote(view)));
  std::vector<UnitKind> others;  // every block lists the same kinds
  if (!plan.blocks.empty())
    for (const auto& [kind, units] : plan.blocks.front().units)
      if (kind != UnitKind::kKvGroup && kind != UnitKind::kFfnChannel) others.push_back(kind);
  Row head = {"block", "FFN channels", "KV groups"};
  for (const UnitKind kind : others) head.push_back(PlainName(InfoOf(kind).plural));
  std::vector<Row> rows;
  for (size_t i = 0; i < plan.blocks.size(); ++i) {
    rows.push_back({fmt::format("{}", i), KeptText(plan.blocks[i].At(UnitKind::kFfnChannel)),
                    KeptText(plan.blocks[i].At(UnitKind::kKvGroup))});
    for (const UnitKind kind : others) rows.back().push_back(KeptText(plan.blocks[i].At(kind)));
  }
  return text + "\n<details><summary>Kept units of each block</summary>\n\n" + Table(head, rows, 0) + "\n</details>\n";
}

std::string Protected(const ReportView& view) {
  if (!view.data.plan || view.data.plan->protected_units.empty()) return "";
  const auto& units = view.data.plan->protected_units;
  std::vector<Row> rows;
  for (size_t i = 0; i < std::min(units.size(), kMaxRows); ++i)
    rows.push_back({EscapeMarkdown(UnitText(units[i].unit)), EscapeMarkdown(units[i].rule),
                    EscapeMarkdown(units[i].reason), units[i].would_cut ? "**yes**" : "no"});
  std::string text = "## Protected units\n\n" + Table({"unit", "rule", "reason", "would have been cut"}, rows, 4);
  if (units.size() > kMaxRows) text += fmt::format("\n{} more in report.json.\n", units.size() - kMaxRows);
  return text;
}

std::string PhenomenaText(const ReportView& view) {
  if (view.data.phenomena.empty()) return "";
  Row head = {"figure"};
  for (const Phenomena& model : view.data.phenomena) head.push_back(EscapeMarkdown(model.model));
  std::vector<Row> rows;
  for (const KeyFigureRow& figure : CompareKeyFigures(view.data.phenomena)) {
    rows.push_back({EscapeMarkdown(figure.name)});
    for (const std::string& text : figure.texts) rows.back().push_back(EscapeMarkdown(text));
  }
  std::string text = "## Spikes and sinks\n\n" + Table(head, rows, 1);
  for (const std::string& flag : PhenomenonFlags(view.data)) text += "\n- **" + EscapeMarkdown(flag) + "**";
  return text + (text.back() == '\n' ? "" : "\n");
}

std::string Healing(const ReportView& view) {
  const std::string note = HealingNote(view);
  return note.empty() ? "" : "## Healing\n\n" + EscapeMarkdown(note) + "\n";
}

std::string Protocols(const ReportView& view) {
  std::string text;
  for (const Results& results : view.data.results) {
    text += fmt::format("- {} of {}:", EscapeMarkdown(results.id), EscapeMarkdown(results.model));
    for (const auto& [key, value] : results.protocol)
      text += fmt::format(" {} {};", EscapeMarkdown(PlainName(key)), EscapeMarkdown(value));
    text.back() = '\n';
  }
  return text.empty() ? "" : "<details><summary>Protocols</summary>\n\n" + text + "\n</details>\n";
}

std::string Provenance(const ReportView& view) {
  std::vector<Row> rows;
  for (const auto& [name, value] : view.data.provenance) rows.push_back({EscapeMarkdown(name), EscapeMarkdown(value)});
  if (rows.empty()) return "";
  return "<details><summary>Provenance</summary>\n\n" + Table({"what", "value"}, rows, 2) + "\n</details>\n";
}

std::string Opening(const ReportView& view) {
  const std::string& title = view.data.question.empty() ? view.data.recipe_name : view.data.question;
  std::string text = fmt::format("# {}\n\n", title.empty() ? "Espalier report" : EscapeMarkdown(title));
  if (view.verdict != "none") text += fmt::format("**Gates: {}.** ", EscapeMarkdown(view.verdict));
  return text + EscapeMarkdown(view.summary) + "\n";
}

}  // namespace

std::string RenderMarkdown(const Json& report) {
  const ReportView view = ReadReport(report);
  std::string text = Opening(view);
  size_t left_out = 0;
  for (const auto& part :
       {Headline, Gates, Notices, PlanText, Protected, PhenomenaText, Healing, Protocols, Provenance}) {
    const std::string section = part(view);
    if (section.empty()) continue;
    if (text.size() + section.size() > kMaxCharacters) {
      ++left_out;
      continue;
    }
    text += "\n" + section;
  }
  if (left_out > 0)
    text += fmt::format("\n{} sections that are too long for a comment are in report.html.\n", left_out);
  return text;
}

}  // namespace espalier
