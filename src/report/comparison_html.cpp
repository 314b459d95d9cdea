// A comparison as a page: verdict first, then the interval of each text against the limit, then the figures.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/log.h"
#include "espalier/report/comparison.h"
#include "espalier/report/format.h"
#include "espalier/report/html_page.h"
#include "espalier/report/svg.h"

namespace espalier {
namespace {

constexpr double kTop = 30, kRow = 46, kBottom = 40;

using OfMetric = std::vector<const PairedResult*>;  // results of one metric: one axis

OfMetric ResultsOf(const PairedComparison& comparison, std::string_view metric) {
  OfMetric results;
  for (const PairedResult& result : comparison.results)
    if (result.metric == metric) results.push_back(&result);
  return results;
}

// Where nothing has changed.
double Unchanged(const PairedResult& result) {
  return result.metric == "perplexity" ? 1 : 0;
}

Scale ChangeScale(const OfMetric& results, double width) {
  std::vector<double> values = {Unchanged(*results.front()), results.front()->limit};
  for (const PairedResult* result : results)
    for (const double value : {result->change.low, result->change.mean, result->change.high})
      if (std::isfinite(value)) values.push_back(value);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double room = std::max(0.08 * (*high - *low), 1e-4);
  return {*low - room, *high + room, 14, width - 14, false};
}

void DrawAxis(Svg& svg, const Scale& x, double bottom, bool perplexity) {
  const std::vector<double> ticks = RoundTicks(x, IsPhone(svg.width()) ? 4 : 9);
  const std::vector<std::string> texts = TickTexts(ticks);
  for (size_t i = 0; i < ticks.size(); ++i) {
    svg.Line(x.At(ticks[i]), kTop, x.At(ticks[i]), bottom, "grid");
    svg.Text(x.At(ticks[i]), bottom + 16, texts[i], "tick mid");
  }
  svg.Text((x.from + x.to) / 2, bottom + 33,
           perplexity ? "perplexity of head, times base" : "accuracy of head less base", "axis mid");
}

void DrawResult(Svg& svg, const Scale& x, const PairedResult& result, double y) {
  const std::string title = PairedResultText(result);
  svg.Text(x.from, y - 9, fmt::format("{}: {}", result.id, VerdictName(result.verdict)), "label");
  if (!std::isfinite(result.change.mean)) return;
  const double low = x.At(result.change.low), high = x.At(result.change.high);
  svg.Path(fmt::format("M{0} {2}H{1}M{0} {3}V{4}M{1} {3}V{4}", SvgNumber(low), SvgNumber(high), SvgNumber(y + 5),
                       SvgNumber(y), SvgNumber(y + 10)),
           "whisker", title);
  svg.Marker(x.At(result.change.mean), y + 5, 0, "mark m1", title);
}

std::string LimitChart(const OfMetric& results, double width) {
  const double bottom = kTop + kRow * static_cast<double>(results.size());
  Svg svg(width, bottom + kBottom, "Change of each result with its interval, and the limit");
  const Scale x = ChangeScale(results, width);
  const PairedResult& first = *results.front();
  DrawAxis(svg, x, bottom, first.metric == "perplexity");
  svg.Line(x.At(Unchanged(first)), kTop, x.At(Unchanged(first)), bottom, "zero");
  svg.Line(x.At(first.limit), kTop, x.At(first.limit), bottom, "limit");
  const bool right = x.At(first.limit) > (x.from + x.to) / 2;
  svg.Text(x.At(first.limit) + (right ? -4 : 4), kTop - 8, fmt::format("limit {:g}", first.limit),
           right ? "value end" : "value");
  for (size_t i = 0; i < results.size(); ++i)
    DrawResult(svg, x, *results[i], kTop + kRow * static_cast<double>(i) + 26);
  return svg.Finish();
}

std::string Charts(const PairedComparison& comparison) {
  std::string html;
  for (const char* metric : {"perplexity", "accuracy"})
    if (const OfMetric results = ResultsOf(comparison, metric); !results.empty())
      html += HtmlFigure([&](double width) { return LimitChart(results, width); }, "");
  return html;
}

std::string Rows(const PairedComparison& comparison) {
  std::string rows;
  for (const PairedResult& result : comparison.results) {
    const std::string verdict(VerdictName(result.verdict));
    rows += fmt::format("<tr><th scope=\"row\" class=\"keep\">{}</th><td><b class=\"{}\">{}</b></td>{}{}{}{}{}</tr>\n",
                        EscapeHtml(result.id), verdict, verdict, NumberCell(FormatFigure(result.base)),
                        NumberCell(FormatFigure(result.head)), NumberCell(ChangeText(result), ChangeInterval(result)),
                        NumberCell(fmt::format("{} {}", FormatCount(result.count), result.counted), result.resampled),
                        TextCell(LimitText(result)) + TextCell(result.reason, "wrap"));
  }
  return rows;
}

}  // namespace

std::string RenderComparisonHtml(const PairedComparison& comparison) {
  const std::string verdict(VerdictName(comparison.verdict));
  std::string page = HtmlHead("Comparison");
  page += fmt::format(
      "<header>\n<p class=\"eyebrow\">Espalier comparison</p>\n<h1>{} against {}</h1>\n"
      "<p class=\"verdict {}\">{}</p>\n</header>\n",
      EscapeHtml(comparison.head), EscapeHtml(comparison.base), verdict, EscapeHtml(ComparisonSummary(comparison)));
  page +=
      HtmlSection("Against the limit",
                  "The interval of each result. All of it on the good side of the limit: pass. All on the other: fail. "
                  "Across: inconclusive.",
                  Charts(comparison));
  const std::string head = TextHead("text") + TextHead("verdict") + HeadCell("base") + HeadCell("head") +
                           HeadCell("change", FormatShare(comparison.options.confidence)) + HeadCell("count") +
                           TextHead("limit") + TextHead("why");
  page += HtmlSection("Figures",
                      fmt::format("Paired token by token; {} bootstrap resamples; verdicts corrected for {} results "
                                  "(Holm).",
                                  FormatCount(comparison.options.resamples), comparison.results.size()),
                      HtmlTable(head, Rows(comparison)));
  page += HtmlSection("Notices", "", HtmlList(comparison.notices));
  return page + HtmlTail("Rendered by Espalier from comparison.json, which holds every figure.");
}

}  // namespace espalier
