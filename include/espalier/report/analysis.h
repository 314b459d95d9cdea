#pragma once
// What `espalier analyze` shows: the phenomena of one model, or of two side by side (before and after), as one
// self-contained HTML page and as a text for the terminal. Both are functions of their arguments alone.
#include <string>
#include <utility>
#include <vector>

#include "espalier/analyze/phenomena.h"

namespace espalier {

// `flags`: what went wrong between the two models, a sentence each; shown first. `provenance`: names and values. The
// page needs nothing but itself; its one script sorts and filters tables, and all is readable without it.
std::string RenderAnalysisHtml(const std::vector<Phenomena>& models, const std::vector<std::string>& flags,
                               const std::vector<std::pair<std::string, std::string>>& provenance);

// At most 100 columns wide. One model: its blocks, then what was found; two: their figures and the change.
std::string RenderAnalysisTable(const std::vector<Phenomena>& models, const std::vector<std::string>& flags);

}  // namespace espalier
