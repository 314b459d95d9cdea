// espalier completion: completion scripts of shells, made from the command table and the schema.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>

#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/core/registry.h"
#include "espalier/recipe/run.h"
#include "espalier/recipe/schema.h"

namespace espalier {
namespace {

// What both shells complete.
struct Words {
  std::vector<std::string> stages = StageNames(), described;
  Words() {
    for (const SectionSpec& section : RunSchema())
      if (!section.path.empty()) described.push_back(section.path);
    for (const RegistryView& view : AllRegistries())
      for (const ComponentInfo* info : view.components()) described.push_back(info->name);
  }
};

std::string Bash(const Words& words) {
  std::vector<std::string> names;
  std::string cases;
  for (const Command& command : Commands()) {
    names.push_back(command.name);
    cases +=
        fmt::format("    {}) flags=\"{} --help --quiet --verbose\" ;;\n", command.name, fmt::join(command.flags, " "));
  }
  return fmt::format(
      "# bash completion of espalier; use: source <(espalier completion)\n"
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
      fmt::join(names, " "), fmt::join(words.stages, " "), fmt::join(words.described, " "), cases);
}

// In single quotes of zsh, where _describe takes what follows a colon as the explanation.
std::string Quoted(std::string text) {
  std::string quoted;
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return "'" + quoted + "'";
}

std::string Zsh(const Words& words) {
  std::string commands, cases;
  for (const Command& command : Commands()) {
    commands += fmt::format("    {}\n", Quoted(command.name + ":" + command.summary));
    cases +=
        fmt::format("    {}) flags=({} --help --quiet --verbose) ;;\n", command.name, fmt::join(command.flags, " "));
  }
  return fmt::format(
      "#compdef espalier\n"
      "# zsh completion of espalier; use: source <(espalier completion zsh), or save it as _espalier in a folder of "
      "$fpath\n"
      "_espalier() {{\n"
      "  local -a commands flags\n"
      "  commands=(\n{}  )\n"
      "  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
      "  case ${{words[CURRENT-1]}} in\n"
      "    --from|--until) compadd -- {}; return ;;\n"
      "    describe) compadd -- {}; return ;;\n"
      "  esac\n"
      "  case ${{words[2]}} in\n{}  esac\n"
      "  if [[ ${{words[CURRENT]}} == -* ]]; then compadd -- $flags; else _files; fi\n"
      "}}\n"
      "if [[ ${{funcstack[1]}} == _espalier ]]; then _espalier \"$@\"; else compdef _espalier espalier; fi\n",
      commands, fmt::join(words.stages, " "), fmt::join(words.described, " "), cases);
}

int CompletionCommand(const std::vector<std::string>& arguments) {
  const std::string shell = arguments.empty() ? "bash" : arguments.front();
  if (shell != "bash" && shell != "zsh") throw RecipeError(UnknownName("shell", shell, {"bash", "zsh"}));
  std::fputs((shell == "bash" ? Bash(Words()) : Zsh(Words())).c_str(), stdout);
  return kExitPass;
}

const bool kRegistered =
    RegisterCommand({"completion",
                     "Print the completion script of a shell",
                     "[bash|zsh]",
                     "examples:\n  source <(espalier completion)\n  espalier completion zsh > ~/.zfunc/_espalier",
                     {},
                     CompletionCommand});

}  // namespace
}  // namespace espalier
