#pragma once
// What every HTML page is made of: the frame, sections, figures, tables, tiles. Arguments named `html` are markup;
// all others are plain text and are escaped here.
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace espalier {

// From the doctype to the start of <main>. With `script`, the content policy admits that script alone, by its hash.
std::string HtmlHead(std::string_view title, std::string_view script = "");
// The footer, the script, and the end of the page.
std::string HtmlTail(std::string_view footer, std::string_view script = "");
// The form of a hash in a content policy: "sha256-" and base64 (W3C CSP 3, section 2.3.1).
std::string ScriptHash(std::string_view script);

std::string HtmlSection(std::string_view title, std::string_view note, const std::string& html);  // empty without html
std::string HtmlDetails(std::string_view title, std::string_view note, const std::string& html);  // folded; likewise
std::string HtmlList(const std::vector<std::string>& items);
std::string HtmlAlert(std::string_view title, const std::vector<std::string>& items);  // a red box; empty without items
std::string HtmlProvenanceTable(const std::vector<std::pair<std::string, std::string>>& provenance);  // folded

// `chart(width)` is drawn twice, for a desk and for a phone; the style sheet shows the one that fits, so type keeps its
// size without a script. A chart of a pair has half the width on a desk.
using Chart = std::function<std::string(double)>;
std::string HtmlFigure(const Chart& chart, const std::string& html_legend);
std::string HtmlHalfFigure(std::string_view title, const Chart& chart, const std::string& html_legend);
bool IsPhone(double width);  // whether a chart of this width is the one for a phone, where nothing can hover

std::string NumberCell(const std::string& text, const std::string& under = "");
std::string HeadCell(const std::string& text, const std::string& under = "");  // of a column of figures
std::string TextHead(const std::string& text);                                 // of a column of texts
std::string TextCell(const std::string& text, std::string_view css = "");

struct TableLook {
  bool dense = false;     // small type, for many columns
  bool fit = false;       // as wide as its contents and no wider
  bool tall = false;      // many rows: scrolls on a screen; printed are the first kPrintedRows
  bool sortable = false;  // by the page's script
  int range = -1;         // column that the script filters by numbers and ranges, -1: none
  int choice = -1;        // column that the script filters by its values, -1: none
};
constexpr size_t kPrintedRows = 30;
std::string HtmlTable(const std::string& html_head, const std::string& html_rows, const TableLook& look = {});

std::string HtmlTile(const std::string& what, const std::string& figure, const std::string& html_below);
std::string HtmlTiles(const std::string& html_tiles);  // empty without tiles

// Legends: the same marks as in the chart, beside their names.
std::string LegendCurve(size_t style, const std::string& text);
std::string LegendPath(std::string_view d, std::string_view css, const std::string& text);
std::string LegendMarker(size_t shape, std::string_view css, const std::string& text);
std::string LegendList(const std::string& html_items);

}  // namespace espalier
