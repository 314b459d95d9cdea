// A comparison as text: for a terminal, for a pull request, for a spreadsheet.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "espalier/core/log.h"
#include "espalier/report/comparison.h"
#include "espalier/report/csv.h"
#include "espalier/report/format.h"
#include "espalier/report/markdown_table.h"
#include "espalier/report/text_table.h"

namespace espalier {
std::string ChangeText(const PairedResult& result) {
  return result.metric == "perplexity" ? fmt::format("x{:.4f}", result.change.mean)
                                       : fmt::format("{:+.2f} points", 100 * result.change.mean);
}

std::string ChangeInterval(const PairedResult& result) {
  return result.metric == "perplexity"
             ? fmt::format("[{:.4f}, {:.4f}]", result.change.low, result.change.high)
             : fmt::format("[{:+.2f}, {:+.2f}]", 100 * result.change.low, 100 * result.change.high);
}

std::string LimitText(const PairedResult& result) {
  return result.metric == "perplexity" ? fmt::format("at most x{:g}", result.limit)
                                       : fmt::format("at least {:+g} points", 100 * result.limit);
}

std::string ComparisonSummary(const PairedComparison& comparison) {
  std::vector<std::string> failed;
  for (const PairedResult& result : comparison.results)
    if (result.verdict == comparison.verdict)
      failed.push_back(fmt::format("{} {} (limit: {})", result.id, ChangeText(result), LimitText(result)));
  switch (comparison.verdict) {
    case Verdict::kPass:
      return fmt::format("PASS: {} within the limit: {}.", failed.size() == 1 ? "it is" : "all are",
                         fmt::join(failed, ", "));
    case Verdict::kFail:
      return fmt::format("FAIL: {}.", fmt::join(failed, ", "));
    case Verdict::kInconclusive:
      return fmt::format("INCONCLUSIVE: not enough evidence on {}.", fmt::join(failed, ", "));
  }
  return "";
}

std::string PairedResultText(const PairedResult& result) {
  return fmt::format("{} {} to {}: {} {} over {} {}{}", result.metric, FormatFigure(result.base),
                     FormatFigure(result.head), ChangeText(result), ChangeInterval(result), FormatCount(result.count),
                     result.counted, result.reason.empty() ? "" : "; " + result.reason);
}

std::string RenderComparisonTable(const PairedComparison& comparison) {
  std::vector<std::string> names = {"text"}, verdict = {"verdict"}, base = {"base"}, head = {"head"},
                           change = {"change"}, interval = {"95 %"}, count = {"count"};
  interval.front() = FormatShare(comparison.options.confidence);
  for (const PairedResult& result : comparison.results) {
    names.push_back(result.id);
    verdict.emplace_back(VerdictName(result.verdict));
    base.push_back(FormatFigure(result.base));
    head.push_back(FormatFigure(result.head));
    change.push_back(ChangeText(result));
    interval.push_back(ChangeInterval(result));
    count.push_back(fmt::format("{} {}", FormatCount(result.count), result.counted));
  }
  std::vector<TextColumn> columns;
  for (const auto& cells : {base, head, change, interval, count, verdict}) columns.push_back(MakeTextColumn(cells));
  std::string text = WrapText("base: " + comparison.base, 6) + WrapText("head: " + comparison.head, 6) +
                     RenderColumns(MakeTextColumn(names), columns);
  for (const PairedResult& result : comparison.results)
    if (!result.reason.empty()) text += WrapText(result.id + ": " + result.reason + ".", 2);
  for (const std::string& notice : comparison.notices) text += WrapText(notice, 2);
  return text + WrapText(ComparisonSummary(comparison));
}

std::string RenderComparisonMarkdown(const PairedComparison& comparison) {
  std::string text = fmt::format("## {}\n\n`{}` against `{}`.\n\n", EscapeMarkdown(ComparisonSummary(comparison)),
                                 EscapeMarkdown(comparison.head), EscapeMarkdown(comparison.base));
  text += MarkdownRow({"text", "base", "head", "change", FormatShare(comparison.options.confidence), "limit", "count",
                       "verdict"}) +
          MarkdownRow({"---", "---:", "---:", "---:", "---", "---", "---:", "---"});
  for (const PairedResult& result : comparison.results)
    text += MarkdownRow({EscapeMarkdown(result.id), FormatFigure(result.base), FormatFigure(result.head),
                         ChangeText(result), EscapeMarkdown(ChangeInterval(result)), LimitText(result),
                         fmt::format("{} {}", FormatCount(result.count), result.counted),
                         fmt::format("**{}**", VerdictName(result.verdict))});
  text += "\n";
  for (const PairedResult& result : comparison.results)
    if (!result.reason.empty())
      text += fmt::format("- {}: {}.\n", EscapeMarkdown(result.id), EscapeMarkdown(result.reason));
  for (const std::string& notice : comparison.notices) text += fmt::format("- {}\n", EscapeMarkdown(notice));
  return text + fmt::format(
                    "\nPaired on the same tokens; intervals from {} bootstrap resamples; verdicts at {} confidence, "
                    "corrected for {} results (Holm).\n",
                    FormatCount(comparison.options.resamples), FormatShare(comparison.options.confidence),
                    comparison.results.size());
}

std::string RenderComparisonCsv(const PairedComparison& comparison) {
  std::string text = "id,metric,base,head,change,low,high,limit,count,p_pass,p_fail,verdict,reason\r\n";
  for (const PairedResult& result : comparison.results)
    text +=
        fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n", CsvField(result.id), result.metric, result.base,
                    result.head, result.change.mean, result.change.low, result.change.high, result.limit, result.count,
                    result.p_pass, result.p_fail, VerdictName(result.verdict), CsvField(result.reason));
  return text;
}

}  // namespace espalier
