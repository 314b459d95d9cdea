#pragma once
// What the folder of a finished cell says, and what several seeds say together.
#include <filesystem>
#include <string>
#include <vector>

#include "espalier/recipe/recipe.h"
#include "espalier/report/sweep.h"

namespace espalier {

// Of a run in `folder` whose evaluation is finished.
SweepRun ReadSweepRun(const std::filesystem::path& folder, const Recipe& recipe);

// The texts that a finished run was measured on, with the dense model's figures; adds those that are not in `texts`.
void AddSweepTexts(const std::filesystem::path& folder, const Recipe& recipe, std::vector<SweepText>& texts);

// Of finished cells, which are the seeds of one variant and share: one point a model and text. Their folders are
// relative to `root`. ShapeError when the seeds were not measured on the same tokens.
std::vector<SweepPoint> PointsOf(const std::filesystem::path& root, const std::vector<const SweepCell*>& cells);

// "score fisher; allocate global; compensate least_squares; protect spike_producers, super_weights".
std::string MethodText(const Recipe& recipe);

}  // namespace espalier
