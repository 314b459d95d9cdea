#include "espalier/comm/share.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr std::chrono::milliseconds kSignOfLife{500};  // well within any timeout, which counts in seconds

// Tells the others that this rank works, until all of them are done or one has failed.
class Signs {
 public:
  explicit Signs(Comm& comm) : comm_(comm), thread_([this] { Run(); }) {}
  ~Signs() { Stop(State::kFailed); }
  Signs(const Signs&) = delete;
  Signs& operator=(const Signs&) = delete;

  // Waits for the others. Throws what the exchange threw, or that another rank failed.
  void Finish() {
    Stop(State::kDone);
    if (error_) std::rethrow_exception(error_);
    if (failed_)
      throw IoError(fmt::format("rank {}: another rank stopped with a mistake, which it has told", comm_.rank()));
  }

 private:
  enum class State { kWorking, kDone, kFailed };

  void Stop(State state) {
    {
      const std::scoped_lock lock(mutex_);
      if (state_ == State::kWorking) state_ = state;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  void Run() {
    try {
      for (bool all_done = false; !all_done && !failed_;) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, kSignOfLife, [this] { return state_ != State::kWorking; });
        const State own = state_;
        lock.unlock();
        const at::Tensor counts =
            at::tensor({own == State::kWorking ? 1 : 0, own == State::kFailed ? 1 : 0}, at::kLong);
        comm_.AllReduce(counts);
        all_done = counts[0].item<int64_t>() == 0;
        failed_ = counts[1].item<int64_t>() > 0;
      }
    } catch (...) {
      error_ = std::current_exception();
    }
  }

  Comm& comm_;
  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::kWorking;
  bool failed_ = false;  // of the thread; read when it has ended
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

bool LeaderSays(Comm& comm, bool yes) {
  if (comm.size() == 1) return yes;
  const at::Tensor said = at::full({1}, yes ? 1 : 0, at::kLong);
  comm.Broadcast(said, 0);
  return said.item<int64_t>() == 1;
}

void WorkTogether(Comm& comm, const std::function<void()>& work) {
  if (comm.size() == 1) return work();
  Signs signs(comm);
  work();
  signs.Finish();
}

void OnLeader(Comm& comm, const std::function<void()>& work) {
  WorkTogether(
      comm, comm.Leads() ? work : [] {});
}

RankFolder::RankFolder(const Comm& comm, std::filesystem::path folder)
    : temporary_(!comm.Leads()), path_(std::move(folder)) {
  if (temporary_)
    path_ = std::filesystem::temp_directory_path() / fmt::format("espalier-rank-{}-{}", comm.rank(), getpid());
}

RankFolder::~RankFolder() {
  std::error_code ignored;
  if (temporary_) std::filesystem::remove_all(path_, ignored);
}

}  // namespace espalier
