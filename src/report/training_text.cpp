// A training report as Markdown, and as the table that the command prints last.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "espalier/report/format.h"
#include "espalier/report/markdown_table.h"
#include "espalier/report/text_table.h"
#include "training_view.h"

namespace espalier {
namespace {

constexpr const char *kFigures = "---:", *kTexts = "---";  // how columns are aligned

std::string Markdown(const TrainingTable& table, const char* align) {
  std::vector<std::string> head, rule;
  for (const std::string& cell : table.head) {
    head.push_back(EscapeMarkdown(cell));
    rule.emplace_back(rule.empty() ? "---" : align);
  }
  std::string text = MarkdownRow(head) + MarkdownRow(rule);
  for (const std::vector<std::string>& row : table.rows) {
    std::vector<std::string> cells;
    for (const std::string& cell : row) cells.push_back(EscapeMarkdown(cell));
    text += MarkdownRow(cells);
  }
  return text;
}

std::string Part(const char* title, const TrainingTable& table, const char* align = kFigures) {
  return table.rows.empty() ? "" : fmt::format("\n## {}\n\n{}", title, Markdown(table, align));
}

std::string Terminal(const TrainingTable& table) {
  std::vector<TextColumn> columns;
  for (size_t c = 0; c < table.head.size(); ++c) {
    std::vector<std::string> cells = {table.head[c]};
    for (const std::vector<std::string>& row : table.rows) cells.push_back(row[c]);
    columns.push_back(MakeTextColumn(cells));
  }
  const TextColumn names = columns.front();
  columns.erase(columns.begin());
  return RenderColumns(names, columns);
}

}  // namespace

std::string RenderTrainingMarkdown(const TrainingReport& report) {
  std::string text =
      fmt::format("# {}\n\n{}\n\n{}", EscapeMarkdown(report.question.empty() ? report.name : report.question),
                  EscapeMarkdown(TrainingSummary(report)), Markdown(TrainingFigures(report), kFigures));
  text += Part("Orderings, paired by seed", TrainingOrderings(report));
  text += Part("Stability", TrainingStability(report));
  const std::vector<std::string> failures = TrainingFailures(report);
  if (!failures.empty()) text += "\n## Cells that diverged or failed\n\n";
  for (const std::string& failure : failures) text += "- " + EscapeMarkdown(failure) + "\n";
  TrainingTable variants{{"variant", "laid over the recipe"}, {}};
  for (const TrainingVariant& variant : report.variants)
    variants.rows.push_back({variant.name, fmt::format("{}", fmt::join(variant.set, "; "))});
  text += Part("Variants", variants, kTexts);
  TrainingTable provenance{{"what", "value"}, {}};
  for (const NameValue& line : report.provenance) provenance.rows.push_back({line.name, line.value});
  return text + Part("Provenance", provenance, kTexts);
}

std::string RenderTrainingTable(const TrainingReport& report) {
  std::string text = Terminal(TrainingFigures(report));
  if (const TrainingTable stability = TrainingStability(report); !stability.rows.empty())
    text += "\n" + Terminal(stability);
  text += "\n" + WrapText(TrainingSummary(report), 2);
  for (const std::string& failure : TrainingFailures(report)) text += WrapText(failure, 2);
  return text;
}

}  // namespace espalier
