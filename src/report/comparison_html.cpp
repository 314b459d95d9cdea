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

Scale RatioScale(const PairedComparison& comparison, double width) {
  std::vector<double> values = {1, 1 + comparison.options.tolerance};
  for (const PairedResult& result : comparison.results)
    for (const double value : {result.ratio.low, result.ratio.mean, result.ratio.high})
      if (std::isfinite(value)) values.push_back(value);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double room = std::max(0.08 * (*high - *low), 1e-4);
  return {*low - room, *high + room, 14, width - 14, false};
}

void DrawAxis(Svg& svg, const Scale& x, double bottom) {
  const std::vector<double> ticks = RoundTicks(x, IsPhone(svg.width()) ? 4 : 9);
  const std::vector<std::string> texts = TickTexts(ticks);
  for (size_t i = 0; i < ticks.size(); ++i) {
    svg.Line(x.At(ticks[i]), kTop, x.At(ticks[i]), bottom, "grid");
    svg.Text(x.At(ticks[i]), bottom + 16, texts[i], "tick mid");
  }
  svg.Text((x.from + x.to) / 2, bottom + 33, "perplexity of head, times base", "axis mid");
}

void DrawResult(Svg& svg, const Scale& x, const PairedResult& result, double y) {
  const std::string title = PairedResultText(result);
  svg.Text(x.from, y - 9, fmt::format("{}: {}", result.id, VerdictName(result.verdict)), "label");
  if (!std::isfinite(result.ratio.mean)) return;
  const double low = x.At(result.ratio.low), high = x.At(result.ratio.high);
  svg.Path(fmt::format("M{0} {2}H{1}M{0} {3}V{4}M{1} {3}V{4}", SvgNumber(low), SvgNumber(high), SvgNumber(y + 5),
                       SvgNumber(y), SvgNumber(y + 10)),
           "whisker", title);
  svg.Marker(x.At(result.ratio.mean), y + 5, 0, "mark m1", title);
}

std::string LimitChart(const PairedComparison& comparison, double width) {
  const double bottom = kTop + kRow * static_cast<double>(comparison.results.size());
  Svg svg(width, bottom + kBottom, "Perplexity of head relative to base with intervals, and the limit");
  const Scale x = RatioScale(comparison, width);
  DrawAxis(svg, x, bottom);
  const double limit = 1 + comparison.options.tolerance;
  svg.Line(x.At(1), kTop, x.At(1), bottom, "zero");
  svg.Line(x.At(limit), kTop, x.At(limit), bottom, "limit");
  const bool right = x.At(limit) > (x.from + x.to) / 2;
  svg.Text(x.At(limit) + (right ? -4 : 4), kTop - 8, fmt::format("limit {:g}", limit), right ? "value end" : "value");
  for (size_t i = 0; i < comparison.results.size(); ++i)
    DrawResult(svg, x, comparison.results[i], kTop + kRow * static_cast<double>(i) + 26);
  return svg.Finish();
}

std::string Rows(const PairedComparison& comparison) {
  std::string rows;
  for (const PairedResult& result : comparison.results) {
    const std::string verdict(VerdictName(result.verdict));
    rows += fmt::format("<tr><th scope=\"row\" class=\"keep\">{}</th><td><b class=\"{}\">{}</b></td>{}{}{}{}{}</tr>\n",
                        EscapeHtml(result.id), verdict, verdict, NumberCell(FormatFigure(result.base)),
                        NumberCell(FormatFigure(result.head)),
                        NumberCell(fmt::format("{:.4f}", result.ratio.mean),
                                   fmt::format("[{:.4f}, {:.4f}]", result.ratio.low, result.ratio.high)),
                        NumberCell(FormatCount(result.tokens), result.resampled), TextCell(result.reason, "wrap"));
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
  page += HtmlSection("Against the limit",
                      "The interval of each text. Left of the limit: pass. Right of it: fail. Across: inconclusive.",
                      HtmlFigure([&](double width) { return LimitChart(comparison, width); }, ""));
  const std::string head = TextHead("text") + TextHead("verdict") + HeadCell("base") + HeadCell("head") +
                           HeadCell("times", FormatShare(comparison.options.confidence)) + HeadCell("tokens") +
                           TextHead("why");
  page += HtmlSection("Figures",
                      fmt::format("Paired on the same tokens; {} bootstrap resamples; verdicts corrected for {} texts "
                                  "(Holm).",
                                  FormatCount(comparison.options.resamples), comparison.results.size()),
                      HtmlTable(head, Rows(comparison)));
  page += HtmlSection("Notices", "", HtmlList(comparison.notices));
  return page + HtmlTail("Rendered by Espalier from comparison.json, which holds every figure.");
}

}  // namespace espalier
