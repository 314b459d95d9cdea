// espalier completion: the bash completion script, made from the command table.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>

#include "espalier/cli/command.h"
#include "espalier/core/registry.h"
#include "espalier/recipe/run.h"
#include "espalier/recipe/schema.h"

namespace espalier {
namespace {

int CompletionCommand(const std::vector<std::string>&) {
  std::vector<std::string> names, components;
  std::string cases;
  for (const Command& command : Commands()) {
    names.push_back(command.name);
    cases +=
        fmt::format("    {}) flags=\"{} --help --quiet --verbose\" ;;\n", command.name, fmt::join(command.flags, " "));
  }
  for (const SectionSpec& section : RunSchema())
    if (!section.path.empty()) components.push_back(section.path);
  for (const RegistryView& view : AllRegistries())
    for (const ComponentInfo* info : view.components()) components.push_back(info->name);
  std::fputs(
      fmt::format("# bash completion of espalier; use: source <(espalier completion)\n"
                  "_espalier() {{\n"
                  "  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} flags=\"\"\n"
                  "  if [ \"$COMP_CWORD\" -eq 1 ]; then COMPREPLY=($(compgen -W \"{}\" -- \"$word\")); return; fi\n"
                  "  case $before in\n"
                  "    --from|--until) COMPREPLY=($(compgen -W \"{}\" -- \"$word\")); return ;;\n"
                  "    describe) COMPREPLY=($(compgen -W \"{}\" -- \"$word\")); return ;;\n"
                  "  esac\n"
                  "  case ${{COMP_WORDS[1]}} in\n{}  esac\n"
                  "  case $word in\n"
                  "    -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$word\")) ;;\n"
                  "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
                  "  esac\n"
                  "}}\n"
                  "complete -o filenames -F _espalier espalier\n",
                  fmt::join(names, " "), fmt::join(StageNames(), " "), fmt::join(components, " "), cases)
          .c_str(),
      stdout);
  return kExitPass;
}

const bool kRegistered = RegisterCommand({"completion",
                                          "Print the bash completion script",
                                          "",
                                          "example:\n  source <(espalier completion)",
                                          {},
                                          CompletionCommand});

}  // namespace
}  // namespace espalier
