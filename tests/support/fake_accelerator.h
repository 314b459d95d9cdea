#pragma once
// An accelerator that is none: a device of LibTorch's kind for out-of-tree backends whose memory cannot be read outside
// its few kernels. Every other operator runs on the CPU and refuses arguments of both devices, as a GPU does. What
// passes here touches no device memory by pointer and leaves no tensor behind on the CPU.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

namespace espalier::fake {

struct Counts {
  int64_t items = 0;                     // values read one by one: each waits for the device
  int64_t to_host = 0, to_device = 0;    // copies of tensors; those to the host wait
  std::map<std::string, int64_t> calls;  // of operators without a kernel here, by name

  // What a GPU has to be waited for: reads, copies to the host, and operators whose result's shape or value the host
  // must know.
  int64_t Syncs() const;
};

Counts& Count();
at::Device Device();  // registered by the first call, as "fake:0"

}  // namespace espalier::fake
