#include "espalier/report/csv.h"

#include <fmt/format.h>

#include "espalier/report/view.h"

namespace espalier {
namespace {

struct Figure {
  std::string metric, row, column, unit, of;
  Estimate estimate;
};

std::string Bound(const std::optional<double>& bound) {
  return bound ? fmt::format("{}", *bound) : "";
}

std::string Line(const Results& results, const Figure& figure) {
  return fmt::format("{},{},{},{},{},{},{},{},{},{},{}\r\n", CsvField(results.model), CsvField(results.id),
                     CsvField(figure.metric), CsvField(figure.row), CsvField(figure.column), figure.estimate.value,
                     Bound(figure.estimate.low), Bound(figure.estimate.high), figure.estimate.count,
                     CsvField(figure.unit), CsvField(figure.of));
}

}  // namespace

std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

std::string RenderCsv(const Json& report) {
  std::string text = "model,evaluation,metric,row,column,value,low,high,count,unit,relative_to\r\n";
  for (const Results& results : ReadReport(report).data.results) {
    for (const Metric& metric : results.metrics)
      text +=
          Line(results,
               {metric.name, "", "", metric.unit, metric.of, {metric.value, metric.low, metric.high, metric.count}});
    for (const Grid& grid : results.grids)
      for (size_t r = 0; r < grid.rows.size(); ++r)
        for (size_t c = 0; c < grid.columns.size(); ++c) {
          const Grid::Value& value = grid.values[r][c];
          text += Line(results, {grid.name,
                                 grid.rows[r],
                                 grid.column_axis.empty() ? "" : grid.columns[c],
                                 grid.unit,
                                 grid.of,
                                 {value.value, value.low, value.high, value.count}});
        }
  }
  return text;
}

}  // namespace espalier
