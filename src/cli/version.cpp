// espalier version: what a bug report needs.
#include "espalier/core/version.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "espalier/cli/command.h"

namespace espalier {
namespace {

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.find(':') + 2, line.size()));
  return "unknown";
}

std::string System() {
  utsname names{};
  if (uname(&names) != 0) return "unknown";
  return fmt::format("{} {} {}", names.sysname, names.release, names.machine);
}

int VersionCommand(const std::vector<std::string>&) {
  std::fputs(fmt::format("espalier  {} ({})\nsources   {}\ncompiler  {}\nLibTorch  {} (2.11 to 2.15 are supported)\n"
                         "system    {}\nCPU       {}, {}, {} threads\nCUDA      {}\n",
                         Version(), Revision(), SourceHash(), __VERSION__, TORCH_VERSION, System(), CpuName(),
                         at::get_cpu_capability(), at::get_num_threads(),
                         at::globalContext().hasCUDA() ? "available" : "not available")
                 .c_str(),
             stdout);
  return kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"version", "Version, revision, LibTorch, CPU", "", "Prints what a bug report needs.", {}, VersionCommand});

}  // namespace
}  // namespace espalier
