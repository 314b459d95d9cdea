#include "sweep_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "espalier/core/log.h"
#include "espalier/report/format.h"

namespace espalier {
namespace {

using Cell = SweepColumn::Cell;

// The range goes under the mean where seeds differ.
template <class Format>
Cell SpreadCell(const Spread& spread, const Format& format) {
  if (spread.count == 0) return {};
  const std::string low = format(spread.low), high = format(spread.high);
  return {format(spread.mean), "", low == high ? "" : fmt::format("{} to {}", low, high)};
}

template <class Value, class Format>
SweepColumn SpreadColumn(const std::vector<SweepRow>& rows, std::string head, std::string under, const Value& value,
                         const Format& format) {
  SweepColumn column{std::move(head), std::move(under), false, false, {}, {}, {}};
  for (const SweepRow& row : rows) column.cells.push_back(SpreadCell(SpreadOf(row, value), format));
  return column;
}

std::vector<std::string> CutKinds(const SweepReport& sweep) {
  std::vector<std::string> kinds;
  for (const SweepCell& cell : sweep.cells)
    for (const SweepCut& cut : cell.run ? cell.run->cut : std::vector<SweepCut>{})
      if (cut.cut > 0 && std::find(kinds.begin(), kinds.end(), cut.kind) == kinds.end()) kinds.push_back(cut.kind);
  return kinds;
}

SweepColumn CutColumn(const std::vector<SweepRow>& rows, const std::string& kind) {
  const auto find = [&](const SweepRun& run) {
    for (const SweepCut& cut : run.cut)
      if (cut.kind == kind) return cut;
    return SweepCut{kind, 0, 0};
  };
  SweepColumn column = SpreadColumn(
      rows, PlainName(kind), "", [&](const SweepRun& run) { return static_cast<double>(find(run).cut); },
      [](double value) { return FormatCount(std::llround(value)); });
  for (const SweepRow& row : rows)
    if (!row.runs.empty() && column.under.empty())
      column.under = fmt::format("cut of {}", FormatCount(find(*row.runs.front()).of));
  return column;
}

// Perplexity; under it the ratio to dense with its interval, and the range over seeds.
SweepColumn PerplexityColumn(const SweepReport& sweep, const std::vector<SweepRow>& rows, const std::string& model,
                             const SweepText& text, bool many_models) {
  SweepColumn column{text.corpus, text.preset, false, true, {}, {}, {}};
  if (many_models) column.head = fmt::format("{}, {}", text.corpus, model);
  for (const SweepRow& row : rows) {
    const SweepPoint* point = FindPoint(sweep, row, model, text.id);
    if (point == nullptr) {
      column.cells.push_back({});
      column.beside.emplace_back();
      continue;
    }
    const Estimate ratio{point->ratio, point->ratio_low, point->ratio_high, 0};
    column.cells.push_back(
        {FormatFigure(point->perplexity), fmt::format("{} {}", FormatRatio(ratio.value), FormatInterval(ratio)),
         point->seeds > 1 ? fmt::format("{} to {}", FormatFigure(point->lowest), FormatFigure(point->highest)) : ""});
    column.beside.push_back(FormatRatio(point->ratio));
  }
  return column;
}

template <class Value, class Format>
SweepColumn PhenomenaColumn(const std::vector<SweepRow>& rows, const std::string& model, std::string head,
                            const Value& value, const Format& format) {
  SweepColumn column = SpreadColumn(
      rows, std::move(head), model,
      [&](const SweepRun& run) {
        for (const SweepPhenomena& phenomena : run.phenomena)
          if (phenomena.model == model) return value(phenomena);
        return static_cast<double>(NAN);
      },
      format);
  return column;
}

void AddProtected(const std::vector<SweepRow>& rows, std::vector<SweepColumn>& columns) {
  const auto add = [&](const char* head, const char* under, int64_t SweepRun::*units) {
    columns.push_back(SpreadColumn(
        rows, head, under, [&](const SweepRun& run) { return static_cast<double>(run.*units); },
        [](double count) { return fmt::format("{:.4g}", count); }));
  };
  add("protected", "units", &SweepRun::protected_units);
  add("of them cut", "without protection", &SweepRun::protected_would_cut);
}

SweepColumn RunsColumn(const std::vector<SweepRow>& rows) {
  SweepColumn column{"seeds", "", false, false, {}, {}, {}};
  for (const SweepRow& row : rows)
    column.cells.push_back({row.runs.size() == row.cells ? fmt::format("{}", row.cells)
                                                         : fmt::format("{} of {}", row.runs.size(), row.cells),
                            "", ""});
  return column;
}

void AddShares(const std::vector<SweepRow>& rows, std::vector<SweepColumn>& columns) {
  const auto add = [&](const char* head, const char* brief, double SweepRun::*share) {
    columns.push_back(SpreadColumn(
        rows, head, "removed", [&](const SweepRun& run) { return run.*share; }, FormatShare));
    columns.back().in_terminal = true;
    columns.back().brief = {brief, "removed"};
  };
  add("block parameters", "blocks", &SweepRun::block_parameters);
  add("all parameters", "all", &SweepRun::total_parameters);
  add("bytes", "bytes", &SweepRun::bytes);
}

void AddCosts(const std::vector<SweepRow>& rows, std::vector<SweepColumn>& columns) {
  const auto add = [&](const char* head, double SweepRun::*seconds) {
    columns.push_back(SpreadColumn(
        rows, head, "seconds", [&](const SweepRun& run) { return run.*seconds; }, FormatCell));
  };
  add("calibrate", &SweepRun::calibrate_seconds);
  add("plan", &SweepRun::plan_seconds);
  add("prune", &SweepRun::prune_seconds);
  columns.push_back(SpreadColumn(
      rows, "memory", "peak", [](const SweepRun& run) { return static_cast<double>(run.peak_memory_bytes); },
      FormatBytes));
}

template <class T>
std::string ListText(const std::vector<T>& list, size_t shown, const std::function<std::string(const T&)>& text) {
  std::string joined;
  for (size_t i = 0; i < std::min(list.size(), shown); ++i) joined += (i > 0 ? ", " : "") + text(list[i]);
  return joined + (list.size() > shown ? fmt::format(" and {} more", list.size() - shown) : "");
}

size_t CountState(const SweepReport& sweep, SweepState state) {
  return static_cast<size_t>(std::count_if(sweep.cells.begin(), sweep.cells.end(),
                                           [&](const SweepCell& cell) { return cell.state == state; }));
}

}  // namespace

std::vector<SweepRow> SweepRows(const SweepReport& sweep) {
  std::vector<SweepRow> rows;
  for (size_t v = 0; v < sweep.variants.size(); ++v)
    for (const double remove : sweep.remove) {
      SweepRow row{&sweep.variants[v], v, remove, 0, {}};
      for (const SweepCell& cell : sweep.cells) {
        if (cell.variant != row.variant->name || cell.remove != remove) continue;
        ++row.cells;
        if (cell.run) row.runs.push_back(&*cell.run);
      }
      rows.push_back(std::move(row));
    }
  return rows;
}

std::vector<std::string> SweepModels(const SweepReport& sweep) {
  std::vector<std::string> models;
  for (const SweepPoint& point : sweep.points)
    if (std::find(models.begin(), models.end(), point.model) == models.end()) models.push_back(point.model);
  return models;
}

std::string SweepFinalModel(const SweepReport& sweep) {
  const std::vector<std::string> models = SweepModels(sweep);
  return models.empty() ? "" : models.back();
}

const SweepPoint* FindPoint(const SweepReport& sweep, const SweepRow& row, const std::string& model,
                            const std::string& text) {
  for (const SweepPoint& point : sweep.points)
    if (point.variant == row.variant->name && point.remove == row.remove && point.model == model && point.text == text)
      return &point;
  return nullptr;
}

std::vector<SweepColumn> SweepColumns(const SweepReport& sweep) {
  const std::vector<SweepRow> rows = SweepRows(sweep);
  std::vector<SweepColumn> columns = {{"variant", "", true, true, {}, {}, {}},
                                      {"asked for", "", false, true, {}, {}, {}}};
  bool show_runs = sweep.seeds.size() > 1;
  bool any_protected = false;
  for (const SweepRow& row : rows) {
    columns[0].cells.push_back({row.variant->name, "", ""});
    columns[1].cells.push_back({FormatShare(row.remove), "", ""});
    show_runs = show_runs || row.runs.size() != row.cells;
    for (const SweepRun* run : row.runs) any_protected = any_protected || run->protected_units > 0;
  }
  columns[1].under = "of " + PlainName(sweep.budget_of);
  columns[1].brief = {"asked", "for"};
  if (show_runs) columns.push_back(RunsColumn(rows));
  AddShares(rows, columns);
  const std::vector<std::string> models = SweepModels(sweep);
  for (const SweepText& text : sweep.texts)
    for (const std::string& model : models)
      columns.push_back(PerplexityColumn(sweep, rows, model, text, models.size() > 1));
  for (const std::string& kind : CutKinds(sweep)) columns.push_back(CutColumn(rows, kind));
  const std::string last = SweepFinalModel(sweep);
  columns.push_back(PhenomenaColumn(
      rows, last, "sink rate", [](const SweepPhenomena& p) { return p.sink_rate; }, FormatShare));
  columns.push_back(PhenomenaColumn(
      rows, last, "largest spike", [](const SweepPhenomena& p) { return p.largest_spike; }, FormatFigure));
  if (any_protected) AddProtected(rows, columns);
  AddCosts(rows, columns);
  return columns;
}

std::string SweepSummary(const SweepReport& sweep) {
  const size_t failed = CountState(sweep, SweepState::kFailed), open = CountState(sweep, SweepState::kOpen);
  std::string text =
      fmt::format("{} of {} cells finished", CountState(sweep, SweepState::kFinished), sweep.cells.size());
  if (failed > 0) text += fmt::format(", {} failed", failed);
  if (open > 0) text += fmt::format(", {} still to do", open);
  const std::function<std::string(const SweepVariant&)> name = [](const SweepVariant& variant) { return variant.name; };
  const std::function<std::string(const double&)> share = [](const double& value) { return FormatShare(value); };
  const std::function<std::string(const int64_t&)> number = [](const int64_t& seed) { return fmt::format("{}", seed); };
  return text + fmt::format(": {} with {} of {} removed, seed{} {}.", ListText(sweep.variants, 12, name),
                            ListText(sweep.remove, 12, share), PlainName(sweep.budget_of),
                            sweep.seeds.size() == 1 ? "" : "s", ListText(sweep.seeds, 12, number));
}

std::vector<std::string> SweepFailures(const SweepReport& sweep) {
  std::vector<std::string> lines;
  for (const SweepCell& cell : sweep.cells)
    if (cell.state == SweepState::kFailed)
      lines.push_back(
          fmt::format("{}, seed {}, {}: {}", cell.variant, cell.seed, FormatShare(cell.remove), cell.error));
  return lines;
}

std::string SweepTitle(const SweepText& text) {
  return text.preset.empty() ? text.corpus : fmt::format("{} ({})", text.corpus, text.preset);
}

std::string SweepTableNote(const SweepReport& sweep) {
  std::string note =
      "Shares are removed shares of the dense model. × is perplexity relative to the dense model on the same tokens, "
      "with its 95 % interval (paired block bootstrap over tokens).";
  for (const SweepText& text : sweep.texts)
    note += fmt::format(" Dense on {}: {}.", SweepTitle(text), FormatFigure(text.dense));
  if (sweep.seeds.size() > 1)
    note +=
        " Perplexities are geometric means over seeds, other figures means; ranges are the lowest and highest seed. "
        "The interval covers the text, not the seeds.";
  return note;
}

std::string SweepChartNote(const SweepReport& sweep) {
  std::string note = fmt::format(
      "Perplexity of the {} model, logarithmic; lower is better. Bars are 95 % intervals of "
      "the ratio to dense, paired on the same tokens",
      SweepFinalModel(sweep));
  note += sweep.seeds.size() > 1 ? ", bands reach from the lowest to the highest seed." : ".";
  return note + " Bars of two variants that overlap do not by themselves mean that they are equal.";
}

}  // namespace espalier
