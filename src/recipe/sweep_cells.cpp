#include "sweep_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>

#include "emit.h"
#include "espalier/core/error.h"
#include "variant_names.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

using Lines = std::vector<std::string>;

void ThrowIfAny(const Lines& mistakes) {
  if (mistakes.empty()) return;
  std::string text;
  for (const std::string& mistake : mistakes) text += mistake + "\n";
  throw RecipeError(
      fmt::format("{}{} error{}; nothing was run.", text, mistakes.size(), mistakes.size() == 1 ? "" : "s"));
}

// The lines of a recipe's mistakes without the count at their end.
Lines LinesOf(const std::string& message) {
  Lines lines;
  std::istringstream stream(message);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  if (lines.size() > 1 && lines.back().ends_with("nothing was run.")) lines.pop_back();
  return lines;
}

template <class T>
void CheckList(const std::vector<T>& list, const std::string& where, const char* key, Lines& mistakes) {
  if (list.empty())
    mistakes.push_back(fmt::format("{}: {}: expected at least one value, found an empty list", where, key));
  std::set<T> seen;
  for (const T& value : list)
    if (!seen.insert(value).second) mistakes.push_back(fmt::format("{}: {}: {} is there twice", where, key, value));
}

std::vector<SweepVariantSpec> VariantsOf(const Recipe& recipe, Lines& mistakes) {
  if (!recipe.Has("sweep.variants")) return {{"recipe", {}, recipe.path().string()}};
  std::vector<SweepVariantSpec> variants;
  std::set<std::string> names;
  for (const RecipeEntry& entry : recipe.List("sweep.variants")) {
    SweepVariantSpec variant{entry.options.Text("name"), entry.options.TextList("set"), recipe.Where(entry)};
    if (const std::string mistake = MistakeOfName(variant.name); !mistake.empty())
      mistakes.push_back(fmt::format("{}: sweep.variants: {}", variant.where, mistake));
    if (!names.insert(variant.name).second)
      mistakes.push_back(fmt::format("{}: sweep.variants: two variants are named '{}'", variant.where, variant.name));
    variants.push_back(std::move(variant));
  }
  return variants;
}

// What a variant may not change, because the sweep sets it or because it holds for the whole process.
void CheckReserved(const Recipe& base, const Recipe& variant, const std::string& where, Lines& mistakes) {
  const auto check = [&](const char* section, const char* key, const char* instead) {
    if (base.Entry(section).options.Value(key) != variant.Entry(section).options.Value(key))
      mistakes.push_back(fmt::format("{}: it changes {}{}{}, which a variant cannot; {}", where, section,
                                     *section == '\0' ? "" : ".", key, instead));
  };
  check("", "name", "name the sweep at the top level");
  check("", "runs", "set it at the top level");
  check("", "threads", "set it at the top level");
  check("", "seed", "use sweep.seeds");
  check("prune.budget", "remove", "use sweep.remove");
}

std::optional<Recipe> ReadVariant(const Recipe& recipe, const Lines& overrides, const std::string& where,
                                  Lines& mistakes) {
  try {
    return recipe.With(overrides);
  } catch (const RecipeError& error) {
    for (const std::string& line : LinesOf(error.what())) mistakes.push_back(fmt::format("{}: {}", where, line));
    return std::nullopt;
  }
}

void CheckVariant(const Recipe& recipe, const SweepVariantSpec& variant, Lines& mistakes) {
  const std::string where = fmt::format("{}: variant {}", variant.where, variant.name);
  Lines overrides = variant.set;
  for (const std::string& text : overrides) {
    const std::string key = text.substr(0, text.find_first_of(".="));
    if (key == "sweep")
      return mistakes.push_back(fmt::format("{}: '{}': a variant cannot change the sweep", where, text));
  }
  overrides.push_back("sweep=none");
  if (const auto read = ReadVariant(recipe, overrides, where, mistakes)) CheckReserved(recipe, *read, where, mistakes);
}

SweepCellSpec CellOf(const Recipe& recipe, const SweepVariantSpec& variant, int64_t seed, double remove,
                     const fs::path& folder) {
  SweepCellSpec cell;
  cell.variant = variant.name;
  cell.name = fmt::format("{}-{}-{}", variant.name, seed, remove);
  cell.where = fmt::format("{}: variant {}", variant.where, variant.name);
  cell.seed = seed;
  cell.remove = remove;
  Lines overrides = variant.set;
  for (std::string text :
       {std::string("sweep=none"), fmt::format("seed={}", seed), fmt::format("prune.budget.remove={}", remove),
        "runs=" + QuotedScalar((folder / "cells").string()), "name=" + QuotedScalar(cell.name)})
    overrides.push_back(std::move(text));
  cell.recipe = recipe.With(overrides);
  return cell;
}

}  // namespace

SweepSpec ExpandSweep(const Recipe& recipe, const fs::path& folder) {
  if (!recipe.Has("sweep"))
    throw RecipeError(fmt::format("{}: no sweep section and no `protect: compare`: this is one run; use espalier run",
                                  recipe.path().string()));
  const RecipeEntry& section = recipe.Entry("sweep");
  const std::string where = recipe.Where(section);
  SweepSpec sweep;
  Lines mistakes;
  sweep.variants = VariantsOf(recipe, mistakes);
  sweep.seeds = section.options.Has("seeds") ? section.options.IntList("seeds")
                                             : std::vector<int64_t>{recipe.Entry("").options.Int("seed")};
  sweep.remove = section.options.Has("remove")
                     ? section.options.RealList("remove")
                     : std::vector<double>{recipe.Entry("prune.budget").options.Real("remove")};
  CheckList(sweep.seeds, where, "sweep.seeds", mistakes);
  CheckList(sweep.remove, where, "sweep.remove", mistakes);
  const size_t cells = sweep.variants.size() * sweep.seeds.size() * sweep.remove.size();
  if (cells > kMostCells)
    mistakes.push_back(fmt::format("{}: sweep: {} variants x {} seeds x {} shares are {} cells, expected at most {}",
                                   where, sweep.variants.size(), sweep.seeds.size(), sweep.remove.size(), cells,
                                   kMostCells));
  for (const SweepVariantSpec& variant : sweep.variants) CheckVariant(recipe, variant, mistakes);
  ThrowIfAny(mistakes);
  for (const int64_t seed : sweep.seeds)
    for (const SweepVariantSpec& variant : sweep.variants)
      for (const double remove : sweep.remove) sweep.cells.push_back(CellOf(recipe, variant, seed, remove, folder));
  return sweep;
}

}  // namespace espalier
