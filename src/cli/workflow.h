#pragma once
// What a command says to the continuous integration that it runs under.
#include <string>
#include <vector>

#include "espalier/report/ci.h"

namespace espalier {

// Under GitHub Actions: annotations on stdout, and `markdown` appended to the step's summary. Elsewhere nothing.
void TellWorkflow(const std::vector<JudgedCase>& cases, const std::string& markdown);

}  // namespace espalier
