#pragma once
// What this process holds in memory.
#include <cstdint>

namespace espalier {

// Largest resident memory of this process since it started or since the last reset, bytes. Where the kernel does not
// let a process reset it, it only grows.
int64_t PeakMemory();
void ResetPeakMemory();

// Lets freed memory be taken again as it is, instead of going back to the kernel, which clears every page of it before
// the next tensor has it. For a process's start; nothing where the C library has no such switch.
void KeepFreedMemory();

}  // namespace espalier
