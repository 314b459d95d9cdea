// espalier list and describe: what there is to write into a recipe.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/core/registry.h"
#include "espalier/recipe/schema.h"

namespace espalier {
namespace {

std::vector<RegistryView> SortedRegistries() {
  std::vector<RegistryView> views = AllRegistries();
  std::sort(views.begin(), views.end(), [](const RegistryView& a, const RegistryView& b) { return a.kind < b.kind; });
  return views;
}

std::string OptionLine(const OptionSpec& spec) {
  const bool has_default = !std::holds_alternative<std::monostate>(spec.default_value);
  const std::string range = spec.Range();
  return fmt::format("    {:<22} {}{}. {}{}\n", spec.name, OptionTypeName(spec.type), range.empty() ? "" : ", " + range,
                     spec.doc,
                     has_default     ? fmt::format(" Default: {}.", FormatOptionValue(spec.default_value))
                     : spec.optional ? ""
                                     : " Required.");
}

std::string Describe(const std::string& kind, const ComponentInfo& info) {
  std::string text = fmt::format("{} {}\n  {}\n", kind, info.name, info.doc);
  if (!info.source.empty()) text += fmt::format("  Source: {}\n", info.source);
  if (!info.needs.empty()) text += fmt::format("  Reads: {}\n", fmt::join(info.needs, ", "));
  if (!info.options.empty()) text += "  Options:\n";
  for (const OptionSpec& spec : info.options) text += OptionLine(spec);
  return text;
}

std::string DescribeSection(const SectionSpec& section) {
  std::string text =
      fmt::format("section {}\n  {}\n", section.path.empty() ? "(top level)" : section.path, section.doc);
  if (!section.registry.empty())
    text += fmt::format("  Takes a {}, named by `{}`.\n", section.registry, section.selector);
  for (const OptionSpec& spec : section.options) text += OptionLine(spec);
  return text;
}

int ListCommand(const std::vector<std::string>& arguments) {
  std::vector<std::string> kinds;
  bool found = arguments.empty();
  for (const RegistryView& view : SortedRegistries()) {
    kinds.push_back(view.kind);
    if (!arguments.empty() && arguments.front() != view.kind && arguments.front() != view.kind + "s") continue;
    found = true;
    std::fputs(fmt::format("{}s\n", view.kind).c_str(), stdout);
    for (const ComponentInfo* info : view.components())
      std::fputs(fmt::format("  {:<18} {}\n", info->name, info->doc).c_str(), stdout);
  }
  if (!found) throw RecipeError(UnknownName("kind of component", arguments.front(), kinds));
  return kExitPass;
}

int DescribeCommand(const std::vector<std::string>& arguments) {
  std::vector<std::string> known;
  bool found = false;
  for (const SectionSpec& section : RunSchema()) {
    known.push_back(section.path);
    if (!arguments.empty() && section.path != arguments.front()) continue;
    found = true;
    std::fputs(DescribeSection(section).c_str(), stdout);
  }
  for (const RegistryView& view : SortedRegistries())
    for (const ComponentInfo* info : view.components()) {
      known.push_back(info->name);
      if (!arguments.empty() && info->name != arguments.front()) continue;
      found = true;
      std::fputs(Describe(view.kind, *info).c_str(), stdout);
    }
  if (!found) throw RecipeError(UnknownName("component or section", arguments.front(), known));
  return kExitPass;
}

const bool kList = RegisterCommand({"list",
                                    "List the registered components",
                                    "[KIND]",
                                    "examples:\n  espalier list\n  espalier list scorers",
                                    {},
                                    ListCommand});
const bool kDescribe = RegisterCommand({"describe",
                                        "Options of a component or a recipe section",
                                        "[NAME]",
                                        "Without a name, everything: the manual of recipes.\n\n"
                                        "examples:\n  espalier describe wifv\n  espalier describe prune.allocate",
                                        {},
                                        DescribeCommand});

}  // namespace
}  // namespace espalier
