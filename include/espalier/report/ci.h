#pragma once
// Verdicts in the forms that continuous integration reads.
#include <string>
#include <utility>
#include <vector>

namespace espalier {

// One gate's outcome.
struct JudgedCase {
  std::string group;    // test suite: the model or the comparison
  std::string name;     // what was asked
  std::string verdict;  // "pass", "fail", "inconclusive"
  std::string detail;   // figures
  std::string file;     // of the recipe that asks it; empty: none
  int line = 0;
};

// JUnit XML: a testsuite for each group, inconclusive cases as skipped, figures in the message, `properties` on each
// suite. Byte-identical for equal input: no times, no host name.
std::string RenderJUnit(const std::vector<JudgedCase>& cases,
                        const std::vector<std::pair<std::string, std::string>>& properties);

// Workflow commands of GitHub Actions, a line each: ::error for a failure, ::warning for an inconclusive case, at the
// recipe's line. At most 10 of a kind, as many as are shown; the last one then says how many are left out.
std::string RenderAnnotations(const std::vector<JudgedCase>& cases);

}  // namespace espalier
