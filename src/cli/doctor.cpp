// espalier doctor: whether this installation and this machine can do the work, and what to change if not.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "espalier/cli/command.h"
#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/hash.h"
#include "espalier/core/memory.h"
#include "espalier/core/version.h"
#include "espalier/model/precision.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr double kGiB = 1024.0 * 1024 * 1024;

enum class Finding { kFine, kWarning, kFault };

struct Check {
  Finding finding = Finding::kFine;
  std::string what, found, advice{};  // advice: only of what is not fine
};

// The first number behind `key` in /proc/meminfo, bytes; 0 where there is none.
int64_t MemoryOf(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;)
    if (int64_t kilobytes = 0; word == key && file >> kilobytes) return kilobytes * 1024;
  return 0;
}

Check Libraries() {
  return {Finding::kFine, "LibTorch",
          fmt::format("{}, kernels for {}, {}", TORCH_VERSION, at::get_cpu_capability(),
                      at::globalContext().hasCUDA() ? "CUDA available" : "no CUDA")};
}

// A product whose value is known, in the way in which models compute theirs.
Check Arithmetic() {
  const bool sent = UseFasterFloat32Products();
  const at::Tensor a = at::arange(12, at::kFloat).view({3, 4}), b = at::ones({2, 4});
  const at::Tensor expected = at::tensor({6, 6, 22, 22, 38, 38}, at::kFloat).view({3, 2});
  if (!at::equal(at::linear(a, b), expected))
    return {Finding::kFault, "arithmetic", "a matrix product of small integers is wrong",
            "reinstall LibTorch: scripts/setup"};
  return {Finding::kFine, "arithmetic",
          fmt::format("float32 products are exact{}; matmul: auto is {} here", sent ? " (oneDNN)" : "",
                      ParseMatmul("auto", at::kCPU) == at::kFloat ? "float32" : "bfloat16")};
}

Check Threads() {
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  const int threads = at::get_num_threads();
  const std::string found = fmt::format("{} on {} cores", threads, cores);
  if (threads > cores)
    return {Finding::kWarning, "threads", found, "threads that wait for cores slow each other; lower OMP_NUM_THREADS"};
  return {Finding::kFine, "threads", found};
}

Check Memory() {
  const auto free = static_cast<double>(MemoryOf("MemAvailable:"));
  const auto limit = static_cast<double>(GroupMemoryLimit().value_or(0));
  const double available = limit > 0 ? std::min(free, limit) : free;
  const std::string found = fmt::format("{:.1f} GiB available{}", available / kGiB,
                                        available < free ? ", the limit of the control group" : "");
  if (available > 0 && available < 3 * kGiB)
    return {Finding::kWarning, "memory", found, "SmolLM2-135M needs 3 GiB from calibration to healing"};
  return {Finding::kFine, "memory", found};
}

// Runs go to runs/ below the folder where the command is called.
Check Disk() {
  std::error_code error;
  const fs::space_info space = fs::space(".", error);
  if (error) return {Finding::kWarning, "disk", error.message(), "call espalier in a folder that can be read"};
  const std::string found = fmt::format("{:.1f} GiB free here", static_cast<double>(space.available) / kGiB);
  if (static_cast<double>(space.available) < 4 * kGiB)
    return {Finding::kWarning, "disk", found, "a run of SmolLM2-135M writes 2 to 4 GiB below runs/"};
  return {Finding::kFine, "disk", found};
}

// Written aside, flushed and renamed, as every output is.
Check Writing() {
  const fs::path file = fmt::format(".espalier-doctor-{}", getpid());
  try {
    WriteFile(file, "espalier");
    const bool same = HashFile(file) == HashText("espalier");
    fs::remove(file);
    if (same) return {Finding::kFine, "writing", "files written here read back the same"};
    return {Finding::kFault, "writing", "a file written here reads back different", "check this disk"};
  } catch (const Error& error) {
    std::error_code ignored;
    fs::remove(file, ignored);
    return {Finding::kFault, "writing", error.what(), "call espalier in a folder that you may write to"};
  }
}

Check Model() {
  const fs::path model = "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";  // of the shipped recipes
  if (fs::exists(model)) return {Finding::kFine, "example", model.string() + " is there"};
  return {Finding::kWarning, "example", "no " + model.string(),
          "scripts/setup fetches it; only the shipped recipes need it, from the checkout's folder"};
}

std::string Line(const Check& check) {
  const char* mark = check.finding == Finding::kFine      ? "fine"
                     : check.finding == Finding::kWarning ? "warning"
                                                          : "fault";
  std::string line = fmt::format("{:<8} {:<11} {}\n", mark, check.what, check.found);
  if (!check.advice.empty()) line += fmt::format("{:<20} {}\n", "", check.advice);
  return line;
}

int DoctorCommand(const std::vector<std::string>&) {
  bool fault = false;
  std::string text = fmt::format("espalier {} ({})\n", Version(), Revision());
  for (const auto& check : {Libraries, Arithmetic, Threads, Memory, Disk, Writing, Model}) {
    const Check result = check();
    fault |= result.finding == Finding::kFault;
    text += Line(result);
  }
  std::fputs(text.c_str(), stdout);
  return fault ? kExitUsage : kExitPass;
}

const bool kRegistered = RegisterCommand(
    {"doctor",
     "Check this installation and this machine",
     "",
     "Looks at LibTorch and its arithmetic, threads, memory, the disk, whether files can be written here, and whether "
     "the\n"
     "model of the shipped recipes is there. Each line is fine, a warning, or a fault with what to do; exit code 2 "
     "when\n"
     "there is a fault.\n\n"
     "example:\n  espalier doctor",
     {},
     DoctorCommand});

}  // namespace
}  // namespace espalier
