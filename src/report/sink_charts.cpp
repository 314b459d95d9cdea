// Charts of attention sinks.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/report/format.h"
#include "espalier/report/html_page.h"
#include "espalier/report/phenomena_charts.h"
#include "espalier/report/phenomena_text.h"
#include "espalier/report/plot.h"
#include "heat_map.h"

namespace espalier {
namespace {

constexpr double kHeight = 230, kTop = 12;
constexpr size_t kPositions = 16;                    // of the sink rate: what lies further on is next to nothing
constexpr double kSmallestMark = 5, kFullMark = 16;  // pixels of a cell that holds a marker, and one of full size
constexpr size_t kNoOpMark = 0, kBroadcastMark = 3;

const Scale kPercent = {0, 100, kHeight - kPlotBottom, kTop, false};

size_t MostBlocks(const StyledModels& models) {
  size_t most = 0;
  for (const StyledModel& model : models) most = std::max(most, model.phenomena->blocks.size());
  return most;
}

// One curve in percent for each model.
std::string ShareChart(const StyledModels& models, double width, double BlockPhenomena::*share,
                       const std::string& label, const std::string& name) {
  if (MostBlocks(models) == 0) return "";
  Svg svg(width, kHeight, label);
  DrawValueAxis(svg, kPercent, " %");
  DrawBlockAxis(svg, models.front().phenomena->blocks.size(), kHeight - kPlotBottom);
  for (const StyledModel& model : models) {
    std::vector<double> values;
    for (const BlockPhenomena& block : model.phenomena->blocks) values.push_back(100 * block.*share);
    DrawBlockCurve(svg, kPercent, values, model.style, model.phenomena->model + " " + name, " %");
  }
  return svg.Finish();
}

std::string HeadTitle(size_t block, size_t head, const HeadPhenomena& figures) {
  return fmt::format(
      "block {}, head {}: {}, {} of its attention on the first token; alpha {}, value norm {} of the others'", block,
      head, ClassText(figures.head_class), FormatShare(figures.first_token_mass), FormatCell(figures.alpha),
      FormatCell(figures.value_norm_ratio));
}

void DrawClass(Svg& svg, const HeatGrid& grid, size_t block, size_t head, HeadClass head_class) {
  const double cell = std::min(ColumnWidth(svg, grid.columns), grid.cell);
  if (head_class == HeadClass::kNonSink || cell < kSmallestMark) return;
  const double x = ColumnAt(svg, block, grid.columns) - 0.5;
  const double y = grid.top + (static_cast<double>(head) + 0.5) * grid.cell - 0.5;
  const bool no_op = head_class == HeadClass::kNoOp;
  const std::string css = no_op ? "noop" : "broadcast";
  svg.Marker(x, y, no_op ? kNoOpMark : kBroadcastMark, cell < kFullMark ? css + " small" : css, "",
             std::min(1.0, cell / kFullMark));
}

}  // namespace

std::string SinkShareChart(const StyledModels& models, double width) {
  return ShareChart(models, width, &BlockPhenomena::sink_share, "Share of heads that are sinks, block by block",
                    "sink share");
}

std::string FirstTokenChart(const StyledModels& models, double width) {
  return ShareChart(models, width, &BlockPhenomena::first_token_mass,
                    "Mean attention to the first token, block by block", "F-Attn");
}

std::string PositionChart(const StyledModels& models, double width) {
  size_t count = 0;
  for (const StyledModel& model : models)
    count = std::max(count, std::min(kPositions, model.phenomena->sink_rate_by_position.size()));
  if (count == 0) return "";
  Svg svg(width, kHeight, "Sink rate of the first positions");
  DrawValueAxis(svg, kPercent, " %");
  const double column = ColumnWidth(svg, count), bar = 0.72 * column / static_cast<double>(models.size());
  for (size_t i = 0; i < count; ++i) {
    if (column > 20 || i % 5 == 0)
      svg.Text(ColumnAt(svg, i, count), kHeight - kPlotBottom + 16, fmt::format("{}", i + 1), "tick mid");
    double x = ColumnAt(svg, i, count) - 0.36 * column;
    for (const StyledModel& model : models) {
      const auto& rates = model.phenomena->sink_rate_by_position;
      const double rate = i < rates.size() ? 100 * rates[i] : NAN;
      if (std::isfinite(rate) && rate > 0)
        svg.Rect(x, kPercent.At(rate), bar, std::max(kPercent.from - kPercent.At(rate), 1.0),
                 fmt::format("m{}", model.style),
                 fmt::format("{}, position {}: {}", model.phenomena->model, i + 1, FormatShare(rates[i])));
      x += bar;
    }
  }
  svg.Text((kPlotLeft + width - kPlotRight) / 2, kHeight - 4, "position, from 1", "axis mid");
  return svg.Finish();
}

std::string ModelLegend(const StyledModels& models) {
  std::string items;
  for (const StyledModel& model : models) items += LegendCurve(model.style, model.phenomena->model);
  return LegendList(items);
}

std::string SinkMap(const Phenomena& model, double width) {
  size_t rows = 0;
  for (const BlockPhenomena& block : model.blocks) rows = std::max(rows, block.heads.size());
  if (rows == 0) return "";
  const HeatGrid grid = MakeHeatGrid(model.blocks.size(), rows);
  Svg svg(width, grid.Bottom() + kPlotBottom, "Attention of each head to the first token, and its class");
  DrawRowAxis(svg, grid, "head");
  DrawBlockAxis(svg, grid.columns, grid.Bottom());
  for (size_t block = 0; block < model.blocks.size(); ++block) {
    const auto& heads = model.blocks[block].heads;
    for (size_t head = 0; head < heads.size(); ++head) {
      DrawHeatCell(svg, grid, block, head, heads[head].first_token_mass,
                   IsPhone(width) ? "" : HeadTitle(block, head, heads[head]));
      DrawClass(svg, grid, block, head, heads[head].head_class);
    }
  }
  return svg.Finish();
}

std::string SinkMapLegend() {
  return LegendList(HeatLegend("attention to the first token: 0", "1") + LegendMarker(kNoOpMark, "noop", "no-op sink") +
                    LegendMarker(kBroadcastMark, "broadcast", "broadcast sink"));
}

}  // namespace espalier
