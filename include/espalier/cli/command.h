#pragma once
// Commands of the `espalier` program: one file each, registered by name.
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/exit_codes.h"

namespace espalier {

struct Command {
  std::string name;
  std::string summary;             // one line of `espalier --help`
  std::string usage;               // "RECIPE [key.path=value ...] [--until STAGE]"
  std::string help;                // what it does, and examples
  std::vector<std::string> flags;  // for completion: "--until"
  int (*run)(const std::vector<std::string>& arguments);
  bool many_processes = false;  // several may run it together (comm.h); else a launcher of more than one is refused
};

bool RegisterCommand(Command command);
const std::vector<Command>& Commands();  // sorted by name

// Parses the global flags (--help, --quiet, --verbose), dispatches, and turns exceptions into one line and an exit
// code.
int Main(int argc, char** argv);

}  // namespace espalier
