#pragma once
// Every section that a file may have: the one list from which parsing, defaults and documentation come.
#include <vector>

#include "espalier/recipe/recipe.h"

namespace espalier {

std::vector<SectionSpec> RunSchema();
// Those of a suite: a file that only says what is measured (eval/suites).
std::vector<SectionSpec> SuiteSchema();

}  // namespace espalier
