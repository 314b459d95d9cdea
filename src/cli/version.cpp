// espalier version: what a bug report needs.
#include "espalier/core/version.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <cstdio>

#include "espalier/cli/command.h"

namespace espalier {
namespace {

int VersionCommand(const std::vector<std::string>&) {
  std::fputs(fmt::format("espalier {} ({})\nsources   {}\nLibTorch  {} (2.11 to 2.15 are supported)\nCPU       {}, {} "
                         "threads\nCUDA      {}\n",
                         Version(), Revision(), SourceHash(), TORCH_VERSION, at::get_cpu_capability(),
                         at::get_num_threads(), at::globalContext().hasCUDA() ? "available" : "not available")
                 .c_str(),
             stdout);
  return kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"version", "Version, revision, LibTorch, CPU", "", "Prints what a bug report needs.", {}, VersionCommand});

}  // namespace
}  // namespace espalier
