#pragma once
// Runs the built command as a user would.
#include <functional>
#include <string>
#include <vector>

namespace espalier {

struct Outcome {
  int code = -1;    // exit code; 128 + signal when killed
  std::string out;  // stdout
  std::string err;  // stderr
};

Outcome RunCommand(const std::vector<std::string>& arguments);
// One process a rank, with its arguments, as a launcher would start them; outcomes by rank. `when`, once true, kills
// the last rank with SIGKILL.
std::vector<Outcome> RunRanks(const std::vector<std::vector<std::string>>& arguments,
                              const std::function<bool()>& when = nullptr);
// Starts the command, and kills it with SIGKILL as soon as `when` holds. False when it ended before that.
bool RunAndKillWhen(const std::vector<std::string>& arguments, const std::function<bool()>& when);

}  // namespace espalier
