#include "support/command.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "espalier/core/files.h"
#include "support/support.h"

namespace espalier {
namespace {

pid_t Start(const std::vector<std::string>& arguments, const std::filesystem::path& out,
            const std::filesystem::path& err) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::dup2(::open(out.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644), STDOUT_FILENO);
  ::dup2(::open(err.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644), STDERR_FILENO);
  std::vector<char*> argv = {const_cast<char*>(ESPALIER_COMMAND)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  if (::chdir(ESPALIER_SOURCE_DIR) == 0) ::execv(ESPALIER_COMMAND, argv.data());
  ::_exit(127);
}

}  // namespace

Outcome RunCommand(const std::vector<std::string>& arguments) {
  const TempFolder folder;
  int status = 0;
  ::waitpid(Start(arguments, folder / "out", folder / "err"), &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), ReadFile(folder / "out"),
          ReadFile(folder / "err")};
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
