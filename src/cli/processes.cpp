#include "processes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>

#include "espalier/core/error.h"
#include "espalier/core/log.h"

namespace espalier {
namespace {

const char* Environment(const char* name) {
  return std::getenv(name);
}

}  // namespace

std::unique_ptr<Comm> MeetOthers(const std::string& command, const std::vector<std::string>& arguments) {
  auto comm = Connect(ReadLaunch(Environment), CommTimeout(Environment));
  if (comm->size() == 1) return comm;
  if (!comm->Leads()) StartLogging(Verbosity::kQuiet);
  comm->RequireSame("arguments of " + command, fmt::format("{}", fmt::join(arguments, " ")));
  return comm;
}

void RequireOneProcess(const std::string& command) {
  const int64_t size = ReadLaunch(Environment).size;
  if (size > 1)
    throw RecipeError(
        fmt::format("{}: started as one of {} processes, and does its work in one; start it alone", command, size));
}

}  // namespace espalier
