#pragma once
// Which of how many processes this one is, as the launcher says in the environment.
#include <cstdint>
#include <functional>
#include <string>

namespace espalier {

struct Launch {
  int64_t rank = 0, size = 1;
  std::string address{};  // host of the store at which the processes meet
  uint16_t port = 0;
  // Not empty: torchrun's agent hosts the store, this process only connects and keeps its keys under this prefix.
  // Empty: rank 0 hosts it.
  std::string agent_prefix{};
};

// The value of a variable, null when it is not set; std::getenv is one.
using Variable = std::function<const char*(const char* name)>;

// Looked for in this order: RANK and WORLD_SIZE (torchrun); OMPI_COMM_WORLD_RANK and _SIZE (mpirun); SLURM_PROCID and
// SLURM_STEP_NUM_TASKS (srun; a batch script has SLURM_NTASKS without being one of the tasks, so that one does not
// count). None: one process. MASTER_ADDR and MASTER_PORT say where to meet: the port is 29500 where it is not set, the
// address is this host's loopback where the launcher says that all processes are on one host.
// RecipeError naming the variable when one is missing, no number or out of range.
Launch ReadLaunch(const Variable& variable);

}  // namespace espalier
