#pragma once
// What this process holds in memory.
#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>

namespace espalier {

// Largest resident memory of this process since it started or since the last reset, bytes. Where the kernel does not
// let a process reset it, it only grows.
int64_t PeakMemory();
void ResetPeakMemory();

// Lets freed memory be taken again as it is, instead of going back to the kernel, which clears every page of it before
// the next tensor has it. For a process's start; nothing where the C library has no such switch.
void KeepFreedMemory();

// Bytes that the control group of this process may hold (cgroup v2 memory.max, v1 memory.limit_in_bytes, the least on
// the way up); none where nothing limits it. `root` is where the files of the kernel are, for tests.
std::optional<int64_t> GroupMemoryLimit(const std::filesystem::path& root = "/");

// Makes an allocation beyond the limit of the control group fail, which becomes a message, where the kernel would kill
// the process without one. For a process's start.
void FailBeyondGroupLimit();

// Whether an exception says that memory could not be had, from the C++ library or from LibTorch.
bool IsOutOfMemory(const std::exception& error);

}  // namespace espalier
