#pragma once
// What a command that judges says to whoever called it: exit code, and more under continuous integration.
#include <string>
#include <vector>

#include "espalier/report/ci.h"

namespace espalier {

// A failure decides, then a case without enough evidence; no case at all passes.
int ExitCodeOf(const std::vector<JudgedCase>& cases);

// Under GitHub Actions: annotations on stdout, and `markdown` appended to the step's summary. Elsewhere nothing.
void TellWorkflow(const std::vector<JudgedCase>& cases, const std::string& markdown);

}  // namespace espalier
