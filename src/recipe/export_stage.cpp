// The last stage: the model that the run ends with, in the forms that the recipe asks for.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/core/log.h"
#include "espalier/export/target.h"
#include "run_state.h"

namespace espalier {

void ExportStage(RunState& state, const std::string& model_name, const std::string& model_key) {
  const std::vector<RecipeEntry>& entries = state.recipe().List("export");
  if (entries.empty()) return;
  const std::filesystem::path origin = state.recipe().Entry("model").options.Text("path");
  const ExportSource source{state.ModelPath(model_name), origin, origin, state.folder()};
  Json inputs = {{"model", model_key}, {"export", Json::array()}};
  for (const RecipeEntry& entry : entries)
    inputs["export"].push_back({{"name", entry.name}, {"options", entry.options.ToJson()}});
  state.Stage("export", inputs, state.folder() / "export", [&]() -> Json {
    Json facts = Json::object();
    for (const RecipeEntry& entry : entries) {
      const auto target = Registry<ExportTarget>::Create(entry.name, entry.options);
      const Exported exported = ExportModel(source, target->options);
      for (const std::string& line : exported.lines) LogInfo("{}: {}", exported.path.filename().string(), line);
      facts[exported.path.filename().string()] = exported.lines;
    }
    return facts;
  });
}

}  // namespace espalier
