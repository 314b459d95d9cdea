#include "support/command.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "espalier/core/files.h"
#include "support/ranks.h"
#include "support/support.h"

namespace espalier {
namespace {

pid_t Start(const std::vector<std::string>& arguments, const std::filesystem::path& out,
            const std::filesystem::path& err, char* const* environment = environ) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::dup2(::open(out.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644), STDOUT_FILENO);
  ::dup2(::open(err.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644), STDERR_FILENO);
  std::vector<char*> argv = {const_cast<char*>(ESPALIER_COMMAND)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  if (::chdir(ESPALIER_SOURCE_DIR) == 0) ::execve(ESPALIER_COMMAND, argv.data(), environment);
  ::_exit(127);
}

int CodeOf(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Outcome RunCommand(const std::vector<std::string>& arguments) {
  const TempFolder folder;
  int status = 0;
  ::waitpid(Start(arguments, folder / "out", folder / "err"), &status, 0);
  return {CodeOf(status), ReadFile(folder / "out"), ReadFile(folder / "err")};
}

std::vector<Outcome> RunRanks(const std::vector<std::vector<std::string>>& arguments,
                              const std::function<bool()>& when) {
  const TempFolder folder;
  const int port = FreePort(), size = static_cast<int>(arguments.size());
  const auto file = [&](const char* kind, int rank) { return folder / (kind + std::to_string(rank)); };
  std::vector<pid_t> processes;
  for (int rank = 0; rank < size; ++rank) {
    std::vector<std::string> variables = RankEnvironment(rank, size, port);
    processes.push_back(
        Start(arguments[static_cast<size_t>(rank)], file("out", rank), file("err", rank), Pointers(variables).data()));
  }
  for (int status = 0; when != nullptr && ::waitpid(processes.back(), &status, WNOHANG) == 0;) {
    if (when()) {
      ::kill(processes.back(), SIGKILL);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  std::vector<Outcome> outcomes;
  for (int rank = 0; rank < size; ++rank) {
    int status = 0;
    ::waitpid(processes[static_cast<size_t>(rank)], &status, 0);
    outcomes.push_back({CodeOf(status), ReadFile(file("out", rank)), ReadFile(file("err", rank))});
  }
  return outcomes;
}

bool RunAndKillWhen(const std::vector<std::string>& arguments, const std::function<bool()>& when) {
  const TempFolder folder;
  const pid_t child = Start(arguments, folder / "out", folder / "err");
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (when()) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return WIFSIGNALED(status);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace espalier
