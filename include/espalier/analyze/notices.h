#pragma once
// What measured phenomena do not say: limits of the metrics, and conclusions that a reader might wrongly draw.
#include <string>
#include <vector>

#include "espalier/analyze/phenomena.h"
#include "espalier/model/config.h"

namespace espalier {

// Every threshold and size behind the figures, in one sentence: they mean nothing without them.
std::string MetricParameters(const Phenomena& phenomena);

// One paragraph a notice, without line breaks. The first, always there, gives the parameters; the others appear where
// they apply: few tokens, the 1000x rule, sink heads, gates, sink logits, QK-norm, GeLU, windows.
// `config` is that of the measured model.
std::vector<std::string> Notices(const Phenomena& phenomena, const ModelConfig& config);

}  // namespace espalier
