#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/json_reader.h"
#include "espalier/evaluate/results.h"

namespace espalier {
namespace {

constexpr std::string_view kSchema = "espalier.results/1";

// A bound or a relation that a metric does not have is left out.
Json MetricToJson(const Metric& metric) {
  Json json = {{"name", metric.name}, {"value", metric.value}, {"unit", metric.unit}, {"count", metric.count}};
  if (metric.low) json["low"] = *metric.low;
  if (metric.high) json["high"] = *metric.high;
  if (!metric.of.empty()) json["of"] = metric.of;
  return json;
}

Metric MetricFromJson(const JsonReader& reader) {
  reader.AllowOnly({"name", "value", "unit", "count", "low", "high", "of"});
  Metric metric;
  metric.name = reader.Text("name");
  metric.value = reader.RealOrNan("value");
  metric.unit = reader.Text("unit");
  metric.count = reader.Int("count");
  metric.low = reader.OptionalReal("low");
  metric.high = reader.OptionalReal("high");
  if (reader.Has("of")) metric.of = reader.Text("of");
  return metric;
}

Json GridToJson(const Grid& grid) {
  Json json = {{"name", grid.name},
               {"unit", grid.unit},
               {"row_axis", grid.row_axis},
               {"rows", grid.rows},
               {"column_axis", grid.column_axis},
               {"columns", grid.columns},
               {"values", Json::array()}};
  if (!grid.of.empty()) json["of"] = grid.of;
  for (const auto& row : grid.values)
    for (const Grid::Value& value : row) {
      Json cell = {{"value", value.value}, {"count", value.count}};
      if (value.low) cell["low"] = *value.low;
      if (value.high) cell["high"] = *value.high;
      json["values"].push_back(std::move(cell));
    }
  return json;
}

Grid GridFromJson(const JsonReader& reader) {
  reader.AllowOnly({"name", "unit", "row_axis", "rows", "column_axis", "columns", "values", "of"});
  Grid grid{reader.Text("name"),
            reader.Text("unit"),
            reader.Text("row_axis"),
            reader.Text("column_axis"),
            reader.Texts("rows"),
            reader.Texts("columns"),
            {},
            reader.Has("of") ? reader.Text("of") : ""};
  const std::vector<JsonReader> cells = reader.Objects("values");
  if (cells.size() != grid.rows.size() * grid.columns.size())
    reader.Fail("values", fmt::format("{} values, expected {} rows times {} columns", cells.size(), grid.rows.size(),
                                      grid.columns.size()));
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i % grid.columns.size() == 0) grid.values.emplace_back();
    cells[i].AllowOnly({"value", "count", "low", "high"});
    grid.values.back().push_back({cells[i].RealOrNan("value"), cells[i].Int("count"), cells[i].OptionalReal("low"),
                                  cells[i].OptionalReal("high")});
  }
  return grid;
}

}  // namespace

const Metric* Results::Find(std::string_view name) const {
  for (const Metric& metric : metrics)
    if (metric.name == name) return &metric;
  return nullptr;
}

Json ResultsToJson(const Results& results) {
  Json json = {{"schema", kSchema},      {"id", results.id},           {"suite", results.suite},
               {"model", results.model}, {"protocol", Json::object()}, {"metrics", Json::array()}};
  for (const auto& [key, value] : results.protocol) json["protocol"][key] = value;
  for (const Metric& metric : results.metrics) json["metrics"].push_back(MetricToJson(metric));
  for (const Grid& grid : results.grids) json["grids"].push_back(GridToJson(grid));
  return json;
}

Results ResultsFromJson(const Json& json, const std::string& where) {
  const JsonReader reader(json, where);
  reader.ExpectSchema(kSchema);
  reader.AllowOnly({"schema", "id", "suite", "model", "protocol", "metrics", "grids"});
  Results results;
  results.id = reader.Text("id");
  results.suite = reader.Text("suite");
  results.model = reader.Text("model");
  results.protocol = reader.TextMap("protocol");
  for (const JsonReader& metric : reader.Objects("metrics")) {
    results.metrics.push_back(MetricFromJson(metric));
    const std::string& name = results.metrics.back().name;
    if (results.Find(name) != &results.metrics.back())
      metric.Fail("name", fmt::format("'{}' is there twice; a metric's name is unique", name));
  }
  if (reader.Has("grids"))
    for (const JsonReader& grid : reader.Objects("grids")) results.grids.push_back(GridFromJson(grid));
  return results;
}

}  // namespace espalier
