#include "espalier/report/html_page.h"

#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/hash.h"
#include "espalier/report/format.h"
#include "espalier/report/html_style.h"
#include "espalier/report/svg.h"

namespace espalier {
namespace {

constexpr double kDesk = 1032, kHalf = 504, kPhone = 358;  // content widths of the page

std::string Legend(const Svg& sample, const std::string& text) {
  return fmt::format("<li>{}{}</li>\n", sample.Finish(), EscapeHtml(text));
}

std::string Drawings(const Chart& chart, double desk) {
  const std::string wide = chart(desk);
  if (wide.empty()) return "";
  return fmt::format("<div class=\"wide\">{}</div>\n<div class=\"narrow\">{}</div>\n", wide, chart(kPhone));
}

std::string Under(const std::string& text) {
  return text.empty() ? "" : fmt::format("<small>{}</small>", EscapeHtml(text));
}

}  // namespace

std::string ScriptHash(std::string_view script) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::string hex = HashText(script);
  std::string encoded = "sha256-";
  uint32_t bits = 0;
  int held = 0;
  for (char digit : hex) {
    bits = bits << 4 | static_cast<uint32_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    for (held += 4; held >= 6; held -= 6) encoded += kDigits[bits >> (held - 6) & 63];
  }
  if (held > 0) encoded += kDigits[bits << (6 - held) & 63];
  return encoded + "=";  // 32 bytes are 43 digits and one of padding
}

std::string HtmlHead(std::string_view title, std::string_view script) {
  const std::string policy = script.empty() ? "" : fmt::format("; script-src '{}'", ScriptHash(script));
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'{}\">\n"
      "<title>{} - Espalier</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n",
      policy, EscapeHtml(title), kHtmlStyle);
}

std::string HtmlTail(std::string_view footer, std::string_view script) {
  return fmt::format("<footer>{}</footer>\n</main>\n{}</body>\n</html>\n", EscapeHtml(footer),
                     script.empty() ? "" : fmt::format("<script>{}</script>\n", script));
}

std::string HtmlSection(std::string_view title, std::string_view note, const std::string& html) {
  if (html.empty()) return "";
  const std::string under = note.empty() ? "" : fmt::format("<p class=\"note\">{}</p>\n", EscapeHtml(note));
  return fmt::format("<section>\n<h2>{}</h2>\n{}{}</section>\n", EscapeHtml(title), under, html);
}

std::string HtmlDetails(std::string_view title, std::string_view note, const std::string& html) {
  if (html.empty()) return "";
  const std::string under = note.empty() ? "" : fmt::format("<p class=\"note\">{}</p>\n", EscapeHtml(note));
  return fmt::format("<details>\n<summary>{}</summary>\n{}{}</details>\n", EscapeHtml(title), under, html);
}

std::string HtmlList(const std::vector<std::string>& items) {
  std::string html;
  for (const std::string& item : items) html += fmt::format("<li>{}</li>\n", EscapeHtml(item));
  return html.empty() ? "" : "<ul class=\"plain\">\n" + html + "</ul>\n";
}

std::string HtmlAlert(std::string_view title, const std::vector<std::string>& items) {
  if (items.empty()) return "";
  return fmt::format("<div class=\"alert\">\n<b>{}</b>\n{}</div>\n", EscapeHtml(title), HtmlList(items));
}

std::string HtmlProvenanceTable(const std::vector<std::pair<std::string, std::string>>& provenance) {
  std::string rows;
  for (const auto& [name, value] : provenance)
    rows += fmt::format("<tr><th scope=\"row\" class=\"keep\">{}</th><td class=\"wrap\"><code>{}</code></td></tr>\n",
                        EscapeHtml(name), EscapeHtml(value));
  return HtmlDetails("Provenance", "", HtmlTable("", rows));
}

std::string HtmlFigure(const Chart& chart, const std::string& html_legend) {
  const std::string drawings = Drawings(chart, kDesk);
  return drawings.empty() ? "" : fmt::format("<figure>{}\n{}</figure>\n", html_legend, drawings);
}

std::string HtmlHalfFigure(std::string_view title, const Chart& chart, const std::string& html_legend) {
  const std::string drawings = Drawings(chart, kHalf);
  if (drawings.empty()) return "";
  return fmt::format("<figure><figcaption>{}</figcaption>{}\n{}</figure>\n", EscapeHtml(title), html_legend, drawings);
}

bool IsPhone(double width) {
  return width <= kPhone;
}

std::string NumberCell(const std::string& text, const std::string& under) {
  return fmt::format("<td class=\"num\">{}{}</td>", EscapeHtml(text), Under(under));
}

std::string HeadCell(const std::string& text, const std::string& under) {
  return fmt::format("<th class=\"num\" scope=\"col\">{}{}</th>", EscapeHtml(text), Under(under));
}

std::string TextHead(const std::string& text) {
  return fmt::format("<th scope=\"col\">{}</th>", EscapeHtml(text));
}

std::string TextCell(const std::string& text, std::string_view css) {
  if (css.empty()) return fmt::format("<td>{}</td>", EscapeHtml(text));
  return fmt::format("<td class=\"{}\">{}</td>", css, EscapeHtml(text));
}

std::string HtmlTable(const std::string& html_head, const std::string& html_rows, const TableLook& look) {
  if (html_rows.empty()) return "";
  std::string css = look.sortable ? " class=\"sortable" : look.dense ? " class=\"" : "";
  if (look.dense) css += look.sortable ? " dense" : "dense";
  if (!css.empty()) css += "\"";
  if (look.range >= 0) css += fmt::format(" data-range=\"{}\"", look.range);
  if (look.choice >= 0) css += fmt::format(" data-choice=\"{}\"", look.choice);
  const std::string head = html_head.empty() ? "" : fmt::format("<thead><tr>{}</tr></thead>\n", html_head);
  const auto rows = static_cast<size_t>(std::count(html_rows.begin(), html_rows.end(), '\n'));
  const bool cut = look.tall && rows > kPrintedRows;
  return fmt::format(
      "<div class=\"scroll{}{}\" tabindex=\"0\">\n<table{}>\n{}<tbody>\n{}</tbody>\n</table>\n</div>\n{}",
      cut ? " tall" : "", look.fit ? " fit" : "", css, head, html_rows,
      cut ? fmt::format("<p class=\"note onpaper\">The first {} of {} rows.</p>\n", kPrintedRows, rows) : "");
}

std::string HtmlTile(const std::string& what, const std::string& figure, const std::string& html_below) {
  return fmt::format("<li><span class=\"what\">{}</span><b>{}</b>{}</li>\n", EscapeHtml(what), EscapeHtml(figure),
                     html_below);
}

std::string HtmlTiles(const std::string& html_tiles) {
  if (html_tiles.empty()) return "";
  const auto count = std::count(html_tiles.begin(), html_tiles.end(), '\n');
  const char* css = count <= 5 ? "tiles" : count % 3 == 0 ? "tiles by3" : "tiles by4";  // rows of one length
  return fmt::format("<ul class=\"{}\">\n{}</ul>\n", css, html_tiles);
}

std::string LegendCurve(size_t style, const std::string& text) {
  Svg sample(26, 12, text);
  sample.Path("M1 6H25", fmt::format("curve s{}", style));
  sample.Marker(13, 6, style, fmt::format("mark m{}", style));
  return Legend(sample, text);
}

std::string LegendPath(std::string_view d, std::string_view css, const std::string& text) {
  Svg sample(26, 12, text);
  sample.Path(d, css);
  return Legend(sample, text);
}

std::string LegendMarker(size_t shape, std::string_view css, const std::string& text) {
  Svg sample(26, 12, text);
  sample.Marker(13, 6, shape, css);
  return Legend(sample, text);
}

std::string LegendList(const std::string& html_items) {
  return html_items.empty() ? "" : "<ul class=\"legend\">\n" + html_items + "</ul>";
}

}  // namespace espalier
