#pragma once
// What every rendered form of a sweep derives from it in the same way.
#include <string>
#include <vector>

#include "espalier/report/sweep.h"

namespace espalier {

// Mean over the seeds of a row, and their range.
struct Spread {
  double mean = 0, low = 0, high = 0;
  size_t count = 0;
};

// The cells of one variant and one share that are finished, of all seeds.
struct SweepRow {
  const SweepVariant* variant = nullptr;
  size_t style = 0;  // place of the variant
  double remove = 0;
  size_t cells = 0;  // also those that are not finished
  std::vector<const SweepRun*> runs;
};
std::vector<SweepRow> SweepRows(const SweepReport& sweep);  // variants in order, each with its shares

template <class Value>
Spread SpreadOf(const SweepRow& row, const Value& value) {
  Spread spread;
  for (const SweepRun* run : row.runs) {
    const double one = value(*run);
    spread.low = spread.count == 0 ? one : std::min(spread.low, one);
    spread.high = spread.count == 0 ? one : std::max(spread.high, one);
    spread.mean += one;
    ++spread.count;
  }
  if (spread.count > 0) spread.mean /= static_cast<double>(spread.count);
  return spread;
}

// Models beside the dense one that cells have figures of, in order: "pruned", "healed".
std::vector<std::string> SweepModels(const SweepReport& sweep);
// What the pictures show: the last of them. Empty without figures.
std::string SweepFinalModel(const SweepReport& sweep);
// nullptr: none.
const SweepPoint* FindPoint(const SweepReport& sweep, const SweepRow& row, const std::string& model,
                            const std::string& text);

// A column of the table; a cell has a text, what stands small under it, and the range over seeds.
struct SweepColumn {
  struct Cell {
    std::string text, under, range;
  };
  std::string head, under;
  bool is_text = false;
  bool in_terminal = false;
  std::vector<Cell> cells;          // one a row
  std::vector<std::string> beside;  // in the terminal, where there is no room under a text; or empty
  std::vector<std::string> brief;   // head and what is under it in the terminal; empty: the same
};
std::vector<SweepColumn> SweepColumns(const SweepReport& sweep);

std::string SweepSummary(const SweepReport& sweep);                // cells finished, failed, open; what was swept
std::vector<std::string> SweepFailures(const SweepReport& sweep);  // "obs, seed 0, 90 %: ..." of each failed cell
std::string SweepTitle(const SweepText& text);                     // "c4 (gptq-2048)"
std::string SweepTableNote(const SweepReport& sweep);
std::string SweepChartNote(const SweepReport& sweep);

}  // namespace espalier
