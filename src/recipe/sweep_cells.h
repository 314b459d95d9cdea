#pragma once
// The cells of a sweep: every variant with every seed and share, each a recipe of its own.
#include <filesystem>
#include <string>
#include <vector>

#include "espalier/recipe/recipe.h"

namespace espalier {

constexpr size_t kMostCells = 500;

struct SweepVariantSpec {
  std::string name;
  std::vector<std::string> set;  // overrides
  std::string where;             // in the recipe
};

struct SweepCellSpec {
  std::string variant, name, where;  // `name`: "flap-0-0.3", also of its folder
  int64_t seed = 0;
  double remove = 0;
  Recipe recipe;  // what `espalier run` would read
};

struct SweepSpec {
  std::vector<SweepVariantSpec> variants;
  std::vector<int64_t> seeds;
  std::vector<double> remove;
  // Seed by seed, so that a sweep that is stopped early has whole pictures of few seeds.
  std::vector<SweepCellSpec> cells;
};

// Runs go to `folder`/cells/NAME. RecipeError when there is no sweep section, with one line for each mistake in it: a
// bad override (naming the variant), a name twice, an empty list, too many cells, an override of what the sweep sets.
SweepSpec ExpandSweep(const Recipe& recipe, const std::filesystem::path& folder);

}  // namespace espalier
