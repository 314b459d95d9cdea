#pragma once
// Work divided over processes: whose part is which, and parts put together again.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "espalier/comm/comm.h"

namespace espalier {

// The things from `first` to `end` (not included) of a number of them.
struct Share {
  int64_t first = 0, end = 0;
};
// What of `count` things this rank does: contiguous, in the order of ranks, sizes that differ by one at most.
Share OwnShare(const Comm& comm, int64_t count);

// Rows of every rank one after the other, in the order of ranks, on every rank: [N_r, ...] -> [sum of N_r, ...]. CPU
// tensors, alike but for their first size, which may be 0.
at::Tensor GatherRows(Comm& comm, const at::Tensor& own);

// Runs `work` on rank 0 while the others wait for it, however long it takes: signs of life pass between them meanwhile,
// so `work` must not use `comm`. What it throws leaves rank 0 as it is and the others as an IoError that names rank 0.
void OnLeader(Comm& comm, const std::function<void()>& work);

}  // namespace espalier
