// Dispatch: global flags, one command, exceptions to exit codes.
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/memory.h"
#include "espalier/core/signals.h"
#include "espalier/core/version.h"
#include "processes.h"

namespace espalier {
namespace {

constexpr const char* kOutOfMemory = "out of memory; lower the batch or the window length, or use a machine with more";

std::vector<Command>& Table() {
  static std::vector<Command> table;
  return table;
}

void PrintHelp() {
  std::string text = "espalier " + Version() +
                     ": prunes transformer language models in structured units and knows what holds them together.\n\n"
                     "usage: espalier COMMAND [arguments]\n\ncommands:\n";
  for (const Command& command : Commands()) text += fmt::format("  {:<12} {}\n", command.name, command.summary);
  text +=
      "\nflags of every command:\n"
      "  -h, --help     what the command does, with examples\n"
      "  -q, --quiet    no progress, no log lines\n"
      "  -v, --verbose  more log lines\n"
      "\nexample:\n  espalier run recipes/smollm2-135m/starter.yaml\n"
      "\nexit codes: 0 pass, 1 a gate failed, 2 your mistake (one line says which), 3 not enough evidence, 4 our "
      "mistake\n";
  std::fputs(text.c_str(), stdout);
}

void PrintCommandHelp(const Command& command) {
  std::fputs(
      fmt::format("usage: espalier {} {}\n\n{}\n\n{}\n", command.name, command.usage, command.summary, command.help)
          .c_str(),
      stdout);
}

// Takes the global flags out of the arguments.
struct Globals {
  bool help = false;
  Verbosity verbosity = Verbosity::kNormal;
};
Globals TakeGlobals(std::vector<std::string>& arguments) {
  Globals globals;
  std::erase_if(arguments, [&](const std::string& argument) {
    if (argument == "-h" || argument == "--help")
      globals.help = true;
    else if (argument == "-q" || argument == "--quiet")
      globals.verbosity = Verbosity::kQuiet;
    else if (argument == "-v" || argument == "--verbose")
      globals.verbosity = Verbosity::kVerbose;
    else
      return false;
    return true;
  });
  return globals;
}

int Fail(int code, const std::string& text) {
  std::fflush(stdout);
  std::fputs(fmt::format("espalier: {}\n", text).c_str(), stderr);
  return code;
}

int Dispatch(std::vector<std::string> arguments) {
  const Globals globals = TakeGlobals(arguments);
  StartLogging(globals.verbosity);
  if (arguments.empty() || arguments.front() == "help") {
    PrintHelp();
    return arguments.empty() && !globals.help ? kExitUsage : kExitPass;
  }
  const std::string name = arguments.front();
  arguments.erase(arguments.begin());
  std::vector<std::string> names;
  for (const Command& command : Commands()) {
    names.push_back(command.name);
    if (command.name != name) continue;
    if (!globals.help) {
      if (!command.many_processes) RequireOneProcess(command.name);
      return command.run(arguments);
    }
    PrintCommandHelp(command);
    return kExitPass;
  }
  throw RecipeError(UnknownName("command", name, names));
}

}  // namespace

bool RegisterCommand(Command command) {
  Table().push_back(std::move(command));
  std::sort(Table().begin(), Table().end(), [](const Command& a, const Command& b) { return a.name < b.name; });
  return true;
}

const std::vector<Command>& Commands() {
  return Table();
}

int Main(int argc, char** argv) {
  try {
    CatchSignals();
    KeepFreedMemory();
    FailBeyondGroupLimit();
    return Dispatch({argv + 1, argv + argc});
  } catch (const Interrupted& stop) {
    return Fail(kExitInterrupted, stop.what());
  } catch (const Error& error) {
    return Fail(kExitUsage, error.what());
  } catch (const c10::Error& error) {
    if (IsOutOfMemory(error)) return Fail(kExitUsage, kOutOfMemory);
    return Fail(kExitInternal, fmt::format("LibTorch: {}; please report this", error.what_without_backtrace()));
  } catch (const std::exception& error) {
    if (IsOutOfMemory(error)) return Fail(kExitUsage, kOutOfMemory);
    return Fail(kExitInternal, fmt::format("{}; please report this", error.what()));
  }
}

}  // namespace espalier
