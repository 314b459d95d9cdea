// Charts of gate scores.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "espalier/report/format.h"
#include "espalier/report/html_page.h"
#include "espalier/report/phenomena_charts.h"
#include "espalier/report/phenomena_text.h"
#include "espalier/report/plot.h"
#include "heat_map.h"

namespace espalier {
namespace {

size_t MostBins(const Phenomena& model) {
  size_t bins = 0;
  for (const BlockPhenomena& block : model.blocks)
    if (block.gate) bins = std::max(bins, block.gate->histogram.size());
  return bins;
}

// The lowest scores lie at the bottom. Shades are of the root of the share: a bin of a hundredth is still seen.
void DrawScores(Svg& svg, const HeatGrid& grid, size_t block, const GatePhenomena& gate) {
  const auto bins = static_cast<double>(gate.histogram.size());
  const double count = static_cast<double>(std::accumulate(gate.histogram.begin(), gate.histogram.end(), int64_t{0}));
  for (size_t bin = 0; bin < gate.histogram.size(); ++bin) {
    if (gate.histogram[bin] <= 0 || count <= 0) continue;
    const double share = static_cast<double>(gate.histogram[bin]) / count;
    DrawHeatCell(svg, grid, block, grid.rows - 1 - bin, std::sqrt(share),
                 IsPhone(svg.width())
                     ? ""
                     : fmt::format("block {}, scores {:.2f} to {:.2f}: {}", block, static_cast<double>(bin) / bins,
                                   static_cast<double>(bin + 1) / bins, FormatShare(share)));
  }
}

}  // namespace

std::string GateHistogram(const Phenomena& model, double width) {
  const size_t bins = MostBins(model);
  if (bins == 0) return "";
  HeatGrid grid = MakeHeatGrid(model.blocks.size(), bins);
  Svg svg(width, grid.Bottom() + kPlotBottom, "Gate scores of each block");
  const Scale scale = {0, 1, grid.Bottom(), grid.top, false};
  DrawValueAxis(svg, scale, "");
  DrawBlockAxis(svg, grid.columns, grid.Bottom());
  for (size_t block = 0; block < model.blocks.size(); ++block)
    if (model.blocks[block].gate) DrawScores(svg, grid, block, *model.blocks[block].gate);
  for (size_t block = 0; block < model.blocks.size(); ++block) {
    const auto& gate = model.blocks[block].gate;
    if (gate && std::isfinite(gate->mean))
      svg.Marker(ColumnAt(svg, block, grid.columns), scale.At(gate->mean), 3, "broadcast",
                 fmt::format("block {}, {}: mean score {}", block, GateFormText(gate->form), FormatCell(gate->mean)));
  }
  return svg.Finish();
}

std::string GateMap(const Phenomena& model, double width) {
  size_t rows = 0;
  for (const BlockPhenomena& block : model.blocks)
    if (block.gate) rows = std::max(rows, block.gate->head_mean.size());
  if (rows == 0) return "";
  const HeatGrid grid = MakeHeatGrid(model.blocks.size(), rows);
  Svg svg(width, grid.Bottom() + kPlotBottom, "Mean gate score of each head");
  DrawRowAxis(svg, grid, "head");
  DrawBlockAxis(svg, grid.columns, grid.Bottom());
  for (size_t block = 0; block < model.blocks.size(); ++block) {
    if (!model.blocks[block].gate) continue;
    const auto& means = model.blocks[block].gate->head_mean;
    for (size_t head = 0; head < means.size(); ++head)
      DrawHeatCell(
          svg, grid, block, head, means[head],
          IsPhone(width) ? "" : fmt::format("block {}, head {}: mean score {}", block, head, FormatCell(means[head])));
  }
  return svg.Finish();
}

std::string GateHistogramLegend() {
  return LegendList(HeatLegend("share of a block's scores: 0", "1, shaded by its root") +
                    LegendMarker(3, "broadcast", "mean score"));
}

std::string GateMapLegend() {
  return LegendList(HeatLegend("mean score: 0", "1"));
}

}  // namespace espalier
