#include "exporting.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/recipe/recipe.h"
#include "espalier/recipe/schema.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

bool IsRun(const fs::path& folder) {
  return fs::is_regular_file(folder / "recipe.yaml") && fs::is_regular_file(folder / "manifest.json");
}

// The last model that the run's stages made; `healed` may be what an earlier recipe left there.
fs::path ModelOfRun(const fs::path& run, const Recipe& recipe) {
  const Json stages = ReadJson(run / "manifest.json").value("stages", Json::object());
  const bool heals = recipe.Has("heal") && stages.contains("heal");
  for (const char* name : {"healed", "pruned"})
    if ((heals || name != std::string("healed")) && fs::is_regular_file(run / name / "config.json")) return run / name;
  throw IoError(
      fmt::format("{}: a run without a pruned model; run espalier run {}/recipe.yaml", run.string(), run.string()));
}

}  // namespace

ExportSource ResolveExportSource(const fs::path& path, const std::optional<fs::path>& tokenizer) {
  ExportSource source;
  const fs::path whole = WithoutSlash(path);
  if (IsRun(whole))
    source.run = whole;
  else if (IsRun(whole.parent_path()))
    source.run = whole.parent_path();
  source.model = path;
  if (source.run) {
    const Recipe recipe = Recipe::Read(*source.run / "recipe.yaml", {}, RunSchema());
    if (source.run == whole) source.model = ModelOfRun(whole, recipe);
    const fs::path origin = recipe.Entry("model").options.Text("path");
    if (fs::exists(origin)) source.origin = origin;
  }
  source.tokenizer = tokenizer.value_or(source.origin.value_or(source.model));
  return source;
}

std::optional<std::string> Given(const boost::program_options::variables_map& parsed, const char* flag) {
  if (parsed.count(flag) == 0) return std::nullopt;
  return parsed[flag].as<std::string>();
}

ExportOptions ReadExportOptions(const std::string& command, const boost::program_options::variables_map& parsed) {
  ExportOptions options;
  options.form = ParseExportForm(parsed["to"].as<std::string>());
  options.type = Given(parsed, "type");
  if (const auto size = Given(parsed, "shard-size")) options.shard_bytes = ParseBytes(*size);
  const std::string verify = parsed["verify"].as<std::string>();
  if (verify != "on" && verify != "off")
    throw RecipeError(fmt::format("{}: --verify {}: expected on or off", command, verify));
  options.verify = verify == "on";
  return options;
}

void PrintExported(const Exported& exported) {
  for (const std::string& line : exported.lines) std::fputs((line + "\n").c_str(), stdout);
  std::fputs(fmt::format("written to {}\n", exported.path.string()).c_str(), stdout);
}

}  // namespace espalier
