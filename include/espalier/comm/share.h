#pragma once
// Work divided over processes: whose part is which, and parts put together again.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
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

// What rank 0 passed, on every rank.
bool LeaderSays(Comm& comm, bool yes);

// Runs `work` on every rank and returns when all are done, however long the slowest takes: signs of life pass between
// them meanwhile, so `work` must not use `comm`. What it throws on a rank leaves that rank as it is; the others finish
// theirs and throw IoError.
void WorkTogether(Comm& comm, const std::function<void()>& work);
// The same with nothing to do but on rank 0.
void OnLeader(Comm& comm, const std::function<void()>& work);

// Where this rank writes what belongs to a result: rank 0 to `folder`, the others to one that goes with them.
class RankFolder {
 public:
  RankFolder(const Comm& comm, std::filesystem::path folder);
  ~RankFolder();
  RankFolder(const RankFolder&) = delete;
  RankFolder& operator=(const RankFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  bool temporary_;
  std::filesystem::path path_;
};

}  // namespace espalier
