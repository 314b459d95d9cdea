// Judges two evaluations from C++: judge BASE HEAD. Exit code 0: HEAD is at most 2 % worse.
#include <espalier/evaluate/compare.h>

#include <iostream>

int main(int, char** paths) {
  const auto base = espalier::ReadEvaluation(paths[1]), head = espalier::ReadEvaluation(paths[2]);
  const auto comparison = espalier::CompareEvaluations(base, head, {.tolerance = 0.02});
  for (const auto& result : comparison.results)
    std::cout << result.id << " x" << result.change.mean << " " << espalier::VerdictName(result.verdict) << "\n";
  return comparison.verdict == espalier::Verdict::kPass ? 0 : 1;
}
