#pragma once
// Charts of phenomena and their legends, of one model or several. Drawn for a width in pixels; empty when there is
// nothing to draw.
#include <string>
#include <vector>

#include "espalier/analyze/phenomena.h"

namespace espalier {

struct StyledModel {
  const Phenomena* phenomena = nullptr;
  size_t style = 0;  // class of its colour and shape of its marker, "m0" to "m5"
};
using StyledModels = std::vector<StyledModel>;

// Both taps over 2L sublayers, log scale: max |h| after each addition with its median, and max |F(h)| before it. Of a
// single model also the second and third channel (arXiv 2603.05498, Figures 1 and 7).
std::string LifeCycleChart(const StyledModels& models, double width);
std::string LifeCycleLegend(const StyledModels& models);

std::string SinkShareChart(const StyledModels& models, double width);   // share of (sequence, head) in each block
std::string FirstTokenChart(const StyledModels& models, double width);  // F-Attn of each block
std::string PositionChart(const StyledModels& models, double width);    // sink rate of positions 1 to 16
std::string ModelLegend(const StyledModels& models);

std::string SinkMap(const Phenomena& model, double width);  // blocks x heads: attention to the first token, and class
std::string SinkMapLegend();

// Blocks x scores: share of a block's scores in each bin, and the mean; blocks x heads: mean score.
std::string GateHistogram(const Phenomena& model, double width);
std::string GateMap(const Phenomena& model, double width);
std::string GateHistogramLegend();
std::string GateMapLegend();

}  // namespace espalier
