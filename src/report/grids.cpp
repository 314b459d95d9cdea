// Curves over positions and grids of lengths, depths and tasks, of all models together.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "espalier/report/charts.h"
#include "espalier/report/html_page.h"
#include "espalier/report/html_parts.h"
#include "espalier/report/plot.h"

namespace espalier {
namespace {

// Pixels; curves stand kSpread apart, so that whiskers do not cover.
constexpr double kHeight = 260, kTop = 12, kSpread = 7, kLabelWidth = 66;
constexpr double kDarkest = 45;  // percent of the colour behind a figure that must be readable

struct ModelGrid {
  const Grid* grid;
  std::string model;
  size_t style;
};
using ModelGrids = std::vector<ModelGrid>;

std::string CellText(const Grid& grid, const Grid::Value& value) {
  return grid.name == "accuracy" ? FormatShare(value.value) : FormatFigure(value.value);
}

// "[51.0 %, 100.0 %]"; empty without both bounds.
std::string IntervalText(const Grid& grid, const Grid::Value& value) {
  if (grid.name == "accuracy" && value.low && value.high)
    return fmt::format("[{}, {}]", FormatShare(*value.low), FormatShare(*value.high));
  return FormatInterval({value.value, value.low, value.high, value.count});
}

// The grids of one name from one evaluator, of every model that has it with the same rows and columns.
ModelGrids Alike(const ReportView& view, const std::string& id, const Grid& like) {
  ModelGrids grids;
  for (const Results& results : view.data.results) {
    if (results.id != id) continue;
    for (const Grid& grid : results.grids)
      if (grid.name == like.name && grid.rows == like.rows && grid.columns == like.columns)
        grids.push_back({&grid, results.model, ModelStyle(view.comparison, results.model)});
  }
  return grids;
}

std::string Title(const Grid& grid, size_t row, size_t column, const std::string& model) {
  const Grid::Value& value = grid.values[row][column];
  return fmt::format("{}, {} {}: {} {}", model, grid.row_axis, grid.rows[row], CellText(grid, value),
                     IntervalText(grid, value));
}

std::string Curves(const ModelGrids& grids, double width) {
  const Grid& first = *grids.front().grid;
  Svg svg(width, kHeight, PlainName(first.name));
  std::vector<double> all;
  for (const ModelGrid& one : grids)
    for (const auto& row : one.grid->values) {
      all.push_back(row[0].value);
      if (row[0].low) all.push_back(*row[0].low);
      if (row[0].high) all.push_back(*row[0].high);
    }
  const bool positive = std::ranges::all_of(all, [](double value) { return value > 0; });
  Scale scale = ScaleAround(all, false, positive && std::ranges::max(all) > 20 * std::ranges::min(all));
  scale.from = kHeight - kPlotBottom, scale.to = kTop;
  DrawValueAxis(svg, scale, "");
  const size_t count = first.rows.size();
  const auto step = static_cast<size_t>(std::ceil(std::max(1.0, kLabelWidth / ColumnWidth(svg, count))));
  for (size_t i = 0; i < count; i += step)
    svg.Text(ColumnAt(svg, i, count), kHeight - kPlotBottom + 16, first.rows[i], "tick mid");
  svg.Text((kPlotLeft + width - kPlotRight) / 2, kHeight - 4, first.row_axis, "axis mid");
  for (size_t m = 0; m < grids.size(); ++m) {
    const double shift = (static_cast<double>(m) - 0.5 * static_cast<double>(grids.size() - 1)) * kSpread;
    std::vector<double> x, y;
    for (size_t i = 0; i < count; ++i) {
      const Grid::Value& value = grids[m].grid->values[i][0];
      x.push_back(ColumnAt(svg, i, count) + shift);
      y.push_back(HeightAt(scale, value.value));
      if (value.low && value.high)
        svg.Line(x[i], HeightAt(scale, *value.low), x[i], HeightAt(scale, *value.high), "whisker");
    }
    svg.Path(PolylinePath(x, y), fmt::format("curve s{}", grids[m].style));
    for (size_t i = 0; i < count; ++i)
      if (std::isfinite(y[i]))
        svg.Marker(x[i], y[i], grids[m].style, fmt::format("mark m{}", grids[m].style),
                   Title(*grids[m].grid, i, 0, grids[m].model));
  }
  return svg.Finish();
}

std::string Legend(const ModelGrids& grids) {
  std::string items;
  for (const ModelGrid& one : grids) items += LegendCurve(one.style, one.model);
  return LegendList(items);
}

// A row of the table for each row of the grid and each model; the darker, the larger.
std::string Table(const ReportView& view, const ModelGrids& grids) {
  const Grid& first = *grids.front().grid;
  double largest = first.name == "accuracy" ? 1 : 0;
  for (const ModelGrid& one : grids)
    for (const auto& row : one.grid->values)
      for (const Grid::Value& value : row)
        if (std::isfinite(value.value)) largest = std::max(largest, value.value);
  std::string head = TextHead(Capital(first.row_axis)) + TextHead("Model"), rows;
  for (const std::string& column : first.columns) head += HeadCell(column, first.column_axis);
  for (size_t r = 0; r < first.rows.size(); ++r)
    for (const ModelGrid& one : grids) {
      rows +=
          fmt::format("<tr>{}{}", TextCell(one.model == grids.front().model ? PlainName(first.rows[r]) : "", "keep"),
                      HtmlModelHead(view, one.model));
      for (const Grid::Value& value : one.grid->values[r]) {
        const double shade =
            largest > 0 && std::isfinite(value.value) ? kDarkest * std::max(value.value, 0.0) / largest : 0;
        rows += fmt::format("<td class=\"num shade\" style=\"--q:{:.0f}\">{}<small>{}</small></td>", shade,
                            EscapeHtml(CellText(first, value)), EscapeHtml(IntervalText(first, value)));
      }
      rows += "</tr>\n";
    }
  return HtmlTable(head, rows, {.dense = true});
}

}  // namespace

std::string HtmlGrids(const ReportView& view) {
  std::string html;
  std::set<std::string> shown;
  for (const Results& results : view.data.results)
    for (const Grid& grid : results.grids) {
      if (grid.rows.empty() || grid.columns.empty() || !shown.insert(results.id + "/" + grid.name).second) continue;
      const ModelGrids grids = Alike(view, results.id, grid);
      const std::string unit = grid.unit.empty() ? "" : ", " + grid.unit;
      const std::string axes =
          grid.column_axis.empty() ? "" : fmt::format(", {} by {}", grid.row_axis, grid.column_axis);
      html += fmt::format("<h3>{}</h3>\n",
                          EscapeHtml(fmt::format("{}: {}{}{}", results.id, PlainName(grid.name), unit, axes)));
      html += grid.column_axis.empty() ? HtmlFigure([&](double width) { return Curves(grids, width); }, Legend(grids))
                                       : Table(view, grids);
    }
  return html;
}

}  // namespace espalier
