// A sweep as Markdown, and as the table that the command prints last.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "espalier/report/format.h"
#include "espalier/report/markdown_table.h"
#include "espalier/report/sweep.h"
#include "espalier/report/text_table.h"
#include "sweep_view.h"

namespace espalier {
namespace {

std::string Joined(const std::string& text, const std::string& more) {
  return text + (text.empty() || more.empty() ? "" : " ") + more;
}

std::string Table(const SweepReport& sweep) {
  const std::vector<SweepColumn> columns = SweepColumns(sweep);
  std::vector<std::string> head, rule;
  for (const SweepColumn& column : columns) {
    head.push_back(EscapeMarkdown(Joined(column.head, column.under)));
    rule.push_back(column.is_text ? "---" : "---:");
  }
  std::string table = MarkdownRow(head) + MarkdownRow(rule);
  for (size_t row = 0; row < columns.front().cells.size(); ++row) {
    std::vector<std::string> cells;
    for (const SweepColumn& column : columns) {
      const SweepColumn::Cell& cell = column.cells[row];
      const std::string range = cell.range.empty() ? "" : "(" + cell.range + ")";
      cells.push_back(EscapeMarkdown(Joined(Joined(cell.text, cell.under), range)));
    }
    table += MarkdownRow(cells);
  }
  return table;
}

std::string Variants(const SweepReport& sweep) {
  std::string text = MarkdownRow({"variant", "method", "laid over the recipe"}) + MarkdownRow({"---", "---", "---"});
  for (const SweepVariant& variant : sweep.variants) {
    std::vector<std::string> set;
    for (const std::string& one : variant.set) set.push_back(EscapeMarkdown(one));
    text += MarkdownRow(
        {EscapeMarkdown(variant.name), EscapeMarkdown(variant.method), fmt::format("{}", fmt::join(set, "; "))});
  }
  return text;
}

std::string Protocols(const SweepReport& sweep) {
  std::string text;
  for (const SweepText& one : sweep.texts) {
    text += fmt::format("- {}:", EscapeMarkdown(SweepTitle(one)));
    for (const NameValue& line : one.protocol)
      text += fmt::format(" {} {};", EscapeMarkdown(PlainName(line.name)), EscapeMarkdown(line.value));
    text.back() = '\n';
  }
  return text;
}

}  // namespace

std::string RenderSweepMarkdown(const SweepReport& sweep) {
  const std::string title = sweep.question.empty() ? sweep.name : sweep.question;
  std::string text = fmt::format("# {}\n\n{}\n", title.empty() ? "Espalier sweep" : EscapeMarkdown(title),
                                 EscapeMarkdown(SweepSummary(sweep)));
  const std::vector<std::string> failures = SweepFailures(sweep);
  if (!failures.empty()) text += "\n## Failed cells\n\n";
  for (const std::string& failure : failures) text += "- " + EscapeMarkdown(failure) + "\n";
  for (const SweepText& one : sweep.texts)
    text += fmt::format("\n![Perplexity on {}]({})\n", EscapeMarkdown(SweepTitle(one)), SweepSvgName(one));
  text += fmt::format("\n{}\n\n{}\n{}\n", EscapeMarkdown(SweepChartNote(sweep)), Table(sweep),
                      EscapeMarkdown(SweepTableNote(sweep)));
  text += "\n## Variants\n\n" + Variants(sweep);
  if (const std::string protocols = Protocols(sweep); !protocols.empty()) text += "\n## Protocols\n\n" + protocols;
  std::string rows;
  for (const NameValue& line : sweep.provenance)
    rows += MarkdownRow({EscapeMarkdown(line.name), EscapeMarkdown(line.value)});
  if (!rows.empty())
    text += "\n<details><summary>Provenance</summary>\n\n" + MarkdownRow({"what", "value"}) +
            MarkdownRow({"---", "---"}) + rows + "\n</details>\n";
  return text;
}

std::string RenderSweepTable(const SweepReport& sweep) {
  std::vector<TextColumn> columns;
  for (const SweepColumn& column : SweepColumns(sweep)) {
    if (!column.in_terminal) continue;
    std::vector<std::string> cells = column.brief;
    if (cells.empty()) cells = {column.head, column.under};
    for (size_t row = 0; row < column.cells.size(); ++row)
      cells.push_back(column.cells[row].text +
                      (column.beside.empty() || column.beside[row].empty() ? "" : " " + column.beside[row]));
    columns.push_back(MakeTextColumn(cells));
  }
  const TextColumn names = columns.front();
  columns.erase(columns.begin());
  std::string text = RenderColumns(names, columns) + "\n" + WrapText(SweepSummary(sweep), 2);
  for (const std::string& failure : SweepFailures(sweep)) text += WrapText("failed: " + failure, 2);
  return text;
}

}  // namespace espalier
