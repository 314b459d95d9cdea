#pragma once
// Every section that a run's recipe may have: the one list from which parsing, defaults and documentation come.
#include <vector>

#include "espalier/recipe/recipe.h"

namespace espalier {

std::vector<SectionSpec> RunSchema();

}  // namespace espalier
