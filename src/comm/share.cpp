#include "espalier/comm/share.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr std::chrono::milliseconds kSignOfLife{500};  // well within any timeout, which counts in seconds

enum State : int64_t { kWorking, kDone, kFailed };

// Tells the others what rank 0 does, until it is done.
class Signs {
 public:
  explicit Signs(Comm& comm) : comm_(comm), thread_([this] { Run(); }) {}
  ~Signs() { Stop(kFailed); }
  Signs(const Signs&) = delete;
  Signs& operator=(const Signs&) = delete;

  // Throws what the exchange threw.
  void Finish() {
    Stop(kDone);
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void Stop(State state) {
    {
      const std::scoped_lock lock(mutex_);
      if (state_ == kWorking) state_ = state;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  void Run() {
    try {
      for (State told = kWorking; told == kWorking;) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, kSignOfLife, [this] { return state_ != kWorking; });
        told = state_;
        lock.unlock();
        comm_.Broadcast(at::full({1}, static_cast<int64_t>(told), at::kLong), 0);
      }
    } catch (...) {
      error_ = std::current_exception();
    }
  }

  Comm& comm_;
  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = kWorking;
  std::exception_ptr error_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace

Share OwnShare(const Comm& comm, int64_t count) {
  const int64_t each = count / comm.size(), more = count % comm.size();
  const auto first = [&](int64_t rank) { return rank * each + std::min(rank, more); };
  return {first(comm.rank()), first(comm.rank() + 1)};
}

at::Tensor GatherRows(Comm& comm, const at::Tensor& own) {
  if (comm.size() == 1) return own;
  const at::Tensor counts = at::zeros({comm.size()}, at::kLong);
  counts[comm.rank()] = own.size(0);
  comm.AllReduce(counts);
  std::vector<at::Tensor> parts;
  for (int64_t rank = 0; rank < comm.size(); ++rank) {
    std::vector<int64_t> shape = own.sizes().vec();
    shape[0] = counts[rank].item<int64_t>();
    const at::Tensor part = rank == comm.rank() ? own.contiguous() : at::empty(shape, own.options());
    if (part.numel() > 0) comm.Broadcast(part, rank);
    parts.push_back(part);
  }
  return at::cat(parts);
}

void OnLeader(Comm& comm, const std::function<void()>& work) {
  if (comm.size() == 1) return work();
  if (comm.Leads()) {
    Signs signs(comm);
    work();
    return signs.Finish();
  }
  const at::Tensor told = at::empty({1}, at::kLong);
  do comm.Broadcast(told, 0);
  while (told.item<int64_t>() == kWorking);
  if (told.item<int64_t>() == kFailed) throw IoError("rank 0 stopped with a mistake, which it has told");
}

}  // namespace espalier
