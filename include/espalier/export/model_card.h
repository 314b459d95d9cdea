#pragma once
// README.md of an exported folder.
#include <string>
#include <vector>

#include "espalier/export/source.h"
#include "espalier/model/model.h"

namespace espalier {

struct CardFacts {
  std::string title;
  std::string form;                // one sentence: how the folder opens
  std::vector<std::string> lines;  // what was done, what was seen
};

// Front matter, sizes of the blocks, and of a run its report (protocol and results) and its recipe.
std::string ModelCard(const Model& model, const ExportSource& source, const CardFacts& facts);

}  // namespace espalier
