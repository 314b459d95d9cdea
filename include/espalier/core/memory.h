#pragma once
// What this process holds in memory.
#include <cstdint>

namespace espalier {

// Largest resident memory of this process since it started or since the last reset, bytes. Where the kernel does not
// let a process reset it, it only grows.
int64_t PeakMemory();
void ResetPeakMemory();

}  // namespace espalier
