#include "espalier/export/model_card.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/core/log.h"
#include "espalier/core/version.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::string NameOf(const fs::path& path) {
  return WithoutSlash(path).filename().string();
}

// "351 to 1,535", "3"
template <class SizeOf>
std::string Range(const ModelConfig& config, const SizeOf& size_of) {
  const auto [least, most] =
      std::minmax_element(config.blocks.begin(), config.blocks.end(),
                          [&](const BlockConfig& a, const BlockConfig& b) { return size_of(a) < size_of(b); });
  if (size_of(*least) == size_of(*most)) return FormatCount(size_of(*least));
  return fmt::format("{} to {}", FormatCount(size_of(*least)), FormatCount(size_of(*most)));
}

std::string Sizes(const Model& model) {
  const ModelConfig& config = model.config;
  return fmt::format(
      "| | |\n| --- | --- |\n| family | {} |\n| blocks | {} |\n| query heads | {} |\n| key/value groups | {} |\n"
      "| FFN width | {} |\n| model width | {} |\n| head width | {} |\n| parameters | {} |\n| in blocks | {} |\n",
      config.family, config.L(), Range(config, [](const BlockConfig& block) { return block.H; }),
      Range(config, [](const BlockConfig& block) { return block.G; }),
      Range(config, [](const BlockConfig& block) { return block.F; }), config.C, config.D,
      FormatCount(CountParameters(model)), FormatCount(CountBlockParameters(model)));
}

// What the plan took away.
std::string Removed(const fs::path& run) {
  const fs::path path = run / "plan.json";
  if (!fs::exists(path)) return "";
  try {
    const Json plan = ReadJson(path);
    const Json &budget = plan.at("budget"), &cost = plan.at("cost");
    return fmt::format(
        "\n## What was removed\n\n{:.1f} % of {} ({:.1f} % were asked for), chosen by `{}` and spread by "
        "`{}`: {} parameters became {}. plan.json of the run lists every unit that was kept, and {} that "
        "were protected.\n",
        100 * budget.at("achieved_share").get<double>(), budget.at("of").get<std::string>(),
        100 * budget.at("requested_share").get<double>(), plan.at("scorer").get<std::string>(),
        plan.at("allocator").get<std::string>(), FormatCount(cost.at("dense").at("total_parameters").get<int64_t>()),
        FormatCount(cost.at("pruned").at("total_parameters").get<int64_t>()), plan.at("protected_units").size());
  } catch (const nlohmann::json::exception&) {
    throw IoError(fmt::format("{}: not the plan of this version; run the recipe again", path.string()));
  }
}

// The report's own headings go one level down.
std::string Report(const fs::path& run) {
  const fs::path path = run / "report.md";
  if (!fs::exists(path)) return "";
  std::string text = "\n## Protocol and results\n\n" + ReadFile(path);
  size_t at = text.find("\n#", 4);
  while ((at = text.find("\n#", at)) != std::string::npos) {
    text.insert(at + 1, "#");
    at += 3;
  }
  return text + "\n";
}

}  // namespace

std::string ModelCard(const Model& model, const ExportSource& source, const CardFacts& facts) {
  std::string card = "---\nlibrary_name: transformers\ntags: [pruned, espalier]\n---\n\n# " + facts.title + "\n\n";
  if (source.origin) card += fmt::format("Pruned from `{}`. ", NameOf(*source.origin));
  card += facts.form + fmt::format(" Written by Espalier {}.\n\n", Version()) + Sizes(model);
  if (!facts.lines.empty()) card += "\n";
  for (const std::string& line : facts.lines) card += "- " + line + "\n";
  if (!source.run) return card;
  card += Removed(*source.run) + Report(*source.run);
  return card + "\n## Recipe\n\n```yaml\n" + ReadFile(*source.run / "recipe.yaml") + "```\n";
}

}  // namespace espalier
