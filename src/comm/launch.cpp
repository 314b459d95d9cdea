#include "espalier/comm/launch.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <limits>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr const char* kLoopback = "127.0.0.1";
constexpr int64_t kDefaultPort = 29500;  // torchrun's

// How one launcher names what it says.
struct Launcher {
  const char* rank;
  const char* size;
  const char* same_host;     // variable that tells whether all processes are on one host; null: none
  const char* on_same_host;  // variable or, when it starts with '=', value that the former equals then
};
constexpr Launcher kLaunchers[] = {
    {"RANK", "WORLD_SIZE", nullptr, nullptr},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "OMPI_COMM_WORLD_SIZE"},
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "=1"},
};

int64_t Number(const Variable& variable, const char* name, int64_t least, int64_t most) {
  const char* text = variable(name);
  if (text == nullptr)
    throw RecipeError(
        fmt::format("{}: not set, the launcher's other variables are; unset those for one process", name));
  int64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  if (error != std::errc() || rest != end || value < least || value > most)
    throw RecipeError(fmt::format("{}: '{}'; expected a number from {} to {}", name, text, least, most));
  return value;
}

bool OnOneHost(const Variable& variable, const Launcher& launcher) {
  const char* found = launcher.same_host == nullptr ? nullptr : variable(launcher.same_host);
  if (found == nullptr) return false;
  const char* expected = launcher.on_same_host[0] == '=' ? launcher.on_same_host + 1 : variable(launcher.on_same_host);
  return expected != nullptr && std::strcmp(found, expected) == 0;
}

void ReadMeetingPlace(const Variable& variable, const Launcher& launcher, Launch& launch) {
  const char* address = variable("MASTER_ADDR");
  if (address == nullptr && !OnOneHost(variable, launcher))
    throw RecipeError(fmt::format("MASTER_ADDR: not set, {} says {} processes; set it to the host of rank 0",
                                  launcher.size, launch.size));
  launch.address = address == nullptr ? kLoopback : address;
  launch.port = static_cast<uint16_t>(variable("MASTER_PORT") == nullptr
                                          ? kDefaultPort
                                          : Number(variable, "MASTER_PORT", 1, std::numeric_limits<uint16_t>::max()));
  const char* agent = variable("TORCHELASTIC_USE_AGENT_STORE");
  if (agent == nullptr || std::strcmp(agent, "True") != 0) return;
  const char* restarts = variable("TORCHELASTIC_RESTART_COUNT");
  launch.agent_prefix = fmt::format("/worker/attempt_{}", restarts == nullptr ? "0" : restarts);
}

}  // namespace

Launch ReadLaunch(const Variable& variable) {
  for (const Launcher& launcher : kLaunchers) {
    if (variable(launcher.size) == nullptr) continue;
    Launch launch;
    launch.size = Number(variable, launcher.size, 1, std::numeric_limits<int>::max());
    launch.rank = Number(variable, launcher.rank, 0, launch.size - 1);
    if (launch.size > 1) ReadMeetingPlace(variable, launcher, launch);
    return launch;
  }
  return {};
}

}  // namespace espalier
