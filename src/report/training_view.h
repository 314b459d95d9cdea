#pragma once
// A training report as rows of texts, the same in every rendering.
#include <string>
#include <vector>

#include "espalier/report/training.h"

namespace espalier {

struct TrainingTable {
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;  // the first cell is a name
};

// Means over seeds, with the lowest and highest where there are several.
TrainingTable TrainingFigures(const TrainingReport& report);
// Each variant against the first, paired by seed: mean difference, its range, and "lower" or "higher" where all seeds,
// at least two, agree; else "not decided". No rows with fewer than two variants.
TrainingTable TrainingOrderings(const TrainingReport& report);
// Of a probe: the loss of each variant at each rate, and the largest rate up to which none diverged. Else no rows.
TrainingTable TrainingStability(const TrainingReport& report);

std::string TrainingSummary(const TrainingReport& report);  // what was trained and how it was measured
std::vector<std::string> TrainingFailures(const TrainingReport& report);

}  // namespace espalier
