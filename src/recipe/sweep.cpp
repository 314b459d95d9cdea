#include "espalier/recipe/sweep.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/hash.h"
#include "espalier/core/log.h"
#include "espalier/report/sweep.h"
#include "run_state.h"
#include "sweep_cells.h"
#include "sweep_results.h"
#include "variant_names.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCellFile = "cell.json";  // of a finished cell; written last

using Keys = std::vector<std::pair<std::string, std::string>>;  // stage and key

class Sweeper {
 public:
  Sweeper(const Recipe& recipe, const SweepOptions& options)
      : recipe_(recipe), options_(options), folder_(RunFolder(recipe)), spec_(ExpandSweep(recipe, folder_)) {
    lock_ = std::make_unique<FileLock>(folder_ / ".lock");
    sharing_.inputs = std::make_shared<InputCache>();
    sharing_.store = std::make_shared<SharedStore>(folder_ / "shared");
    AskForKeys();
    StartReport();
    for (size_t i = 0; i < spec_.cells.size(); ++i) TakeFinished(i);
  }

  SweepOutcome Run() {
    SweepOutcome outcome{folder_, std::nullopt, "", spec_.cells.size(), 0};
    if (options_.dry_run) {
      outcome.table = Listing();
      return outcome;
    }
    WriteResolvedRecipe(recipe_, folder_);
    LogToFile(folder_ / "log.jsonl");
    LogInfo("{} of {} cells are finished already", Count(SweepState::kFinished), spec_.cells.size());
    for (size_t i = 0; i < spec_.cells.size(); ++i) {
      if (report_.cells[i].state != SweepState::kFinished) RunCell(i);
      if (!options_.keep_models) DropModels(i);
    }
    WriteReports();
    outcome.failed = Count(SweepState::kFailed);
    if (outcome.failed == 0) sharing_.store->Drop("prune");
    outcome.table = RenderSweepTable(report_);
    if (Count(SweepState::kFinished) > 0) outcome.report = folder_ / "sweep.html";
    return outcome;
  }

 private:
  // Goes through every cell without computing anything: its mistakes come before the first run, and its stage keys tell
  // what cells have in common.
  void AskForKeys() {
    Sharing asking = sharing_;
    asking.silent = true;
    std::vector<std::string> mistakes;
    std::map<std::string, size_t> uses;
    for (const SweepCellSpec& cell : spec_.cells) {
      try {
        const RunOptions dry{.from = "", .until = "", .dry_run = true};
        RunState state(cell.recipe, dry, asking);
        RunStages(state, dry);
        keys_.push_back(state.keys());
        pending_.push_back(state.pending());
        for (const auto& [stage, key] : state.keys()) ++uses[key];
      } catch (const Error& error) {
        std::string line = fmt::format("{}: {}", cell.where, OnOneLine(error.what()));
        if (std::find(mistakes.begin(), mistakes.end(), line) == mistakes.end()) mistakes.push_back(std::move(line));
      }
    }
    if (!mistakes.empty()) throw RecipeError(fmt::format("{}\nnothing was run.", fmt::join(mistakes, "\n")));
    for (const auto& [key, count] : uses)
      if (count > 1) sharing_.common.insert(key);
  }

  void StartReport() {
    const Options& run = recipe_.Entry("").options;
    report_.name = folder_.filename().string();
    report_.question = run.Has("question") ? run.Text("question") : "";
    report_.budget_of = recipe_.Entry("prune.budget").options.Text("of");
    report_.remove = spec_.remove;
    report_.seeds = spec_.seeds;
    for (const SweepVariantSpec& variant : spec_.variants) {
      const auto cell = std::find_if(spec_.cells.begin(), spec_.cells.end(),
                                     [&](const SweepCellSpec& one) { return one.variant == variant.name; });
      report_.variants.push_back({variant.name, variant.set, MethodText(cell->recipe)});
    }
    for (const SweepCellSpec& cell : spec_.cells)
      report_.cells.push_back({cell.variant, cell.seed, cell.remove, "cells/" + cell.name, SweepState::kOpen, "", {}});
  }

  fs::path CellFolder(size_t i) const { return folder_ / report_.cells[i].folder; }

  // One key for all that a cell's figures depend on.
  std::string CellKey(size_t i) const {
    std::string all;
    for (const auto& [stage, key] : keys_[i]) all += stage + " " + key + "\n";
    return HashText(all);
  }

  bool HasModels(size_t i) const {
    return fs::exists(CellFolder(i) / "pruned") &&
           (!spec_.cells[i].recipe.Has("heal") || fs::exists(CellFolder(i) / "healed"));
  }

  void TakeFinished(size_t i) {
    const fs::path file = CellFolder(i) / kCellFile;
    if (!fs::exists(file) || (options_.keep_models && !HasModels(i))) return;
    try {
      const Json json = ReadJson(file);
      if (json.value("key", "") != CellKey(i)) return;
      report_.cells[i] = SweepCellFromJson(json.at("cell"), file.string());
      AddSweepTexts(CellFolder(i), spec_.cells[i].recipe, report_.texts);
      UpdatePoints(i);
    } catch (const std::exception& error) {  // whatever is in a file that somebody changed
      LogWarning("{}: {}; the cell runs again", file.string(), OnOneLine(error.what()));
      report_.cells[i].state = SweepState::kOpen;
      report_.cells[i].run.reset();
    }
  }

  void RunCell(size_t i) {
    SweepCell& cell = report_.cells[i];
    LogInfo("cell {} of {}: {}", i + 1, spec_.cells.size(), spec_.cells[i].name);
    try {
      Compute(i);
      cell.run = ReadSweepRun(CellFolder(i), spec_.cells[i].recipe);
      cell.state = SweepState::kFinished;
      AddSweepTexts(CellFolder(i), spec_.cells[i].recipe, report_.texts);
      UpdatePoints(i);
      WriteJson(CellFolder(i) / kCellFile,
                {{"schema", "espalier.sweep-cell/1"}, {"key", CellKey(i)}, {"cell", SweepCellToJson(cell)}});
    } catch (const Interrupted&) {
      throw;
    } catch (const c10::Error& error) {
      Fail(i, error.what_without_backtrace());
    } catch (const std::exception& error) {
      Fail(i, error.what());
    }
    WriteReports();
  }

  void Compute(size_t i) {
    RunState state(spec_.cells[i].recipe, {}, sharing_);
    try {
      RunStages(state, {});
    } catch (...) {
      LogToFile(folder_ / "log.jsonl");
      throw;
    }
    LogToFile(folder_ / "log.jsonl");
  }

  void Fail(size_t i, const std::string& error) {
    SweepCell& cell = report_.cells[i];
    cell.state = SweepState::kFailed;
    cell.error = OnOneLine(error);
    cell.run.reset();
    LogWarning("cell {} of {}: {} failed: {}", i + 1, spec_.cells.size(), spec_.cells[i].name, cell.error);
  }

  void DropModels(size_t i) const {
    for (const char* model : {"pruned", "healed"}) fs::remove_all(CellFolder(i) / model);
  }

  // The points of this cell's variant and share, from all its seeds that are finished.
  void UpdatePoints(size_t i) {
    const SweepCell& changed = report_.cells[i];
    std::vector<const SweepCell*> seeds;
    for (const SweepCell& cell : report_.cells)
      if (cell.variant == changed.variant && cell.remove == changed.remove && cell.run) seeds.push_back(&cell);
    std::vector<SweepPoint> points = PointsOf(folder_, seeds);
    std::erase_if(report_.points, [&](const SweepPoint& point) {
      return point.variant == changed.variant && point.remove == changed.remove;
    });
    std::move(points.begin(), points.end(), std::back_inserter(report_.points));
  }

  void WriteReports() {
    SortPoints();
    if (report_.provenance.empty()) ReadProvenance();
    WriteJson(folder_ / "sweep.json", SweepToJson(report_));
    WriteFile(folder_ / "sweep.md", RenderSweepMarkdown(report_));
    WriteFile(folder_ / "sweep.html", RenderSweepHtml(report_));
    for (const SweepText& text : report_.texts)
      if (const std::string svg = SweepSvg(report_, text); !svg.empty()) WriteFile(folder_ / SweepSvgName(text), svg);
  }

  // The order of the recipe, whatever the order in which cells were finished.
  void SortPoints() {
    const auto place = [&](const SweepPoint& point) {
      const auto variant = std::find_if(spec_.variants.begin(), spec_.variants.end(),
                                        [&](const SweepVariantSpec& one) { return one.name == point.variant; });
      const auto remove = std::find(spec_.remove.begin(), spec_.remove.end(), point.remove);
      return std::pair(variant - spec_.variants.begin(), remove - spec_.remove.begin());
    };
    std::stable_sort(report_.points.begin(), report_.points.end(),
                     [&](const SweepPoint& a, const SweepPoint& b) { return place(a) < place(b); });
  }

  // What all cells ran with, from the first that is finished.
  void ReadProvenance() {
    for (const SweepCell& cell : report_.cells) {
      if (!cell.run) continue;
      const Manifest manifest(folder_ / cell.folder);
      for (const auto& [key, value] : manifest.environment().items())
        if (key != "seed" && key != "recipe" && key != "started")
          report_.provenance.push_back({key, value.is_string() ? value.get<std::string>() : value.dump()});
      report_.provenance.push_back({"recipe", recipe_.path().string()});
      return;
    }
  }

  // For --dry-run. A stage that an earlier cell will compute is not counted again.
  std::string Listing() const {
    std::set<std::string> planned;
    std::string text;
    for (size_t i = 0; i < spec_.cells.size(); ++i) {
      std::vector<std::string> stages;
      for (const auto& [stage, key] : pending_[i])
        if (planned.insert(key).second || stage == "prune" || stage == "heal") stages.push_back(stage);
      const bool finished = report_.cells[i].state == SweepState::kFinished;
      text += fmt::format("{:>4}  {:<40}  {}\n", i + 1, spec_.cells[i].name,
                          finished ? "finished" : fmt::format("to do: {}, report", fmt::join(stages, ", ")));
    }
    return text + fmt::format("{} cells, {} finished, {} to do\n", spec_.cells.size(), Count(SweepState::kFinished),
                              spec_.cells.size() - Count(SweepState::kFinished));
  }

  size_t Count(SweepState state) const {
    return static_cast<size_t>(std::count_if(report_.cells.begin(), report_.cells.end(),
                                             [&](const SweepCell& cell) { return cell.state == state; }));
  }

  const Recipe& recipe_;
  SweepOptions options_;
  fs::path folder_;
  SweepSpec spec_;
  std::unique_ptr<FileLock> lock_;
  Sharing sharing_;
  std::vector<Keys> keys_, pending_;  // of each cell
  SweepReport report_;
};

}  // namespace

SweepOutcome RunSweep(const Recipe& recipe, const SweepOptions& options) {
  return Sweeper(recipe, options).Run();
}

}  // namespace espalier
