// A comparison as text: for a terminal, for a pull request, for a spreadsheet.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "espalier/core/log.h"
#include "espalier/report/comparison.h"
#include "espalier/report/format.h"
#include "espalier/report/text_table.h"

namespace espalier {
namespace {

std::string IntervalText(const PairedResult& result) {
  return fmt::format("[{:.4f}, {:.4f}]", result.ratio.low, result.ratio.high);
}

std::string Line(const std::vector<std::string>& cells) {
  return fmt::format("| {} |\n", fmt::join(cells, " | "));
}

// RFC 4180.
std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

std::string ComparisonSummary(const PairedComparison& comparison) {
  const std::string texts = comparison.results.size() == 1 ? comparison.results.front().id
                                                           : fmt::format("{} texts", comparison.results.size());
  const std::string limit = FormatShare(comparison.options.tolerance);
  switch (comparison.verdict) {
    case Verdict::kPass:
      return fmt::format("PASS: perplexity rises by at most {} on {}.", limit, texts);
    case Verdict::kFail:
      return fmt::format("FAIL: perplexity rises by more than {}.", limit);
    case Verdict::kInconclusive:
      return fmt::format("INCONCLUSIVE: not enough evidence that perplexity rises by at most {}.", limit);
  }
  return "";
}

std::string PairedResultText(const PairedResult& result) {
  return fmt::format("perplexity {} to {}: x{:.4f} {} over {} tokens{}", FormatFigure(result.base),
                     FormatFigure(result.head), result.ratio.mean, IntervalText(result), FormatCount(result.tokens),
                     result.reason.empty() ? "" : "; " + result.reason);
}

std::string RenderComparisonTable(const PairedComparison& comparison) {
  std::vector<std::string> names = {"text"}, verdict = {"verdict"}, base = {"base"}, head = {"head"}, ratio = {"times"},
                           interval = {"95 %"}, tokens = {"tokens"};
  interval.front() = FormatShare(comparison.options.confidence);
  for (const PairedResult& result : comparison.results) {
    names.push_back(result.id);
    verdict.emplace_back(VerdictName(result.verdict));
    base.push_back(FormatFigure(result.base));
    head.push_back(FormatFigure(result.head));
    ratio.push_back(fmt::format("{:.4f}", result.ratio.mean));
    interval.push_back(IntervalText(result));
    tokens.push_back(FormatCount(result.tokens));
  }
  std::vector<TextColumn> columns;
  for (const auto& cells : {base, head, ratio, interval, tokens, verdict}) columns.push_back(MakeTextColumn(cells));
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
  text += Line({"text", "base", "head", "times", FormatShare(comparison.options.confidence), "tokens", "verdict"}) +
          Line({"---", "---:", "---:", "---:", "---", "---:", "---"});
  for (const PairedResult& result : comparison.results)
    text += Line({EscapeMarkdown(result.id), FormatFigure(result.base), FormatFigure(result.head),
                  fmt::format("{:.4f}", result.ratio.mean), EscapeMarkdown(IntervalText(result)),
                  FormatCount(result.tokens), fmt::format("**{}**", VerdictName(result.verdict))});
  text += "\n";
  for (const PairedResult& result : comparison.results)
    if (!result.reason.empty())
      text += fmt::format("- {}: {}.\n", EscapeMarkdown(result.id), EscapeMarkdown(result.reason));
  for (const std::string& notice : comparison.notices) text += fmt::format("- {}\n", EscapeMarkdown(notice));
  return text + fmt::format(
                    "\nPaired on the same tokens; intervals from {} bootstrap resamples; verdicts at {} confidence, "
                    "corrected for {} texts (Holm).\n",
                    FormatCount(comparison.options.resamples), FormatShare(comparison.options.confidence),
                    comparison.results.size());
}

std::string RenderComparisonCsv(const PairedComparison& comparison) {
  std::string text = "text,base_perplexity,head_perplexity,ratio,low,high,tokens,p_pass,p_fail,verdict,reason\r\n";
  for (const PairedResult& result : comparison.results)
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{}\r\n", CsvField(result.id), result.base, result.head,
                        result.ratio.mean, result.ratio.low, result.ratio.high, result.tokens, result.p_pass,
                        result.p_fail, VerdictName(result.verdict), CsvField(result.reason));
  return text;
}

}  // namespace espalier
