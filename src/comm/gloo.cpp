// c10d asks for Gloo's headers (cmake/EspalierGloo.cmake looks for them); Gloo itself is inside libtorch_cpu, so none
// of its methods is called here: the headers may be older than it.
#include "gloo.h"

#include <fmt/format.h>

#include "espalier/comm/comm.h"
#include "espalier/core/error.h"

#ifdef ESPALIER_GLOO
#define USE_C10D_GLOO
#include <cstdlib>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace espalier {
namespace {

using c10d::ProcessGroupGloo;

// Of what c10d and Gloo throw, the part that a user can read: the first sentence, without the place in their sources.
std::string Reason(const std::exception& error) {
  const auto* known = dynamic_cast<const c10::Error*>(&error);
  std::string text = known != nullptr ? known->what_without_backtrace() : error.what();
  text = text.substr(0, text.find('\n'));
  const size_t place = text.starts_with('[') ? text.find("] ") : std::string::npos;
  if (place != std::string::npos) text = text.substr(place + 2);
  return text.substr(0, text.find(". "));
}

constexpr const char* kStartAgain =
    "start the run again; where processes are healthy and slow, raise ESPALIER_COMM_TIMEOUT";
constexpr const char* kChoosePort = "check the address; where another job uses the port, set MASTER_PORT to a free one";

// Runs an exchange, which blocks; turns what it throws into our one line.
template <class Action>
void Exchange(const Launch& launch, const std::string& what, const Action& action, const char* advice = kStartAgain) {
  try {
    action();
  } catch (const std::exception& error) {
    throw IoError(fmt::format("rank {} of {}: {} ({}); {}", launch.rank, launch.size, what, Reason(error), advice));
  }
}

class GlooTransfer final : public Transfer {
 public:
  GlooTransfer(Launch launch, c10::intrusive_ptr<c10d::Work> work)
      : launch_(std::move(launch)), work_(std::move(work)) {}
  void Wait() override {
    Exchange(launch_, "all_reduce: another process ended or did not answer", [&] { work_->wait(); });
  }

 private:
  Launch launch_;
  c10::intrusive_ptr<c10d::Work> work_;
};

class Gloo final : public Comm {
 public:
  Gloo(Launch launch, c10::intrusive_ptr<ProcessGroupGloo> group)
      : launch_(std::move(launch)), group_(std::move(group)) {}
  int64_t rank() const override { return launch_.rank; }
  int64_t size() const override { return launch_.size; }
  std::unique_ptr<Transfer> StartAllReduce(const at::Tensor& tensor) override {
    c10::intrusive_ptr<c10d::Work> work;
    std::vector<at::Tensor> tensors = {tensor};
    Exchange(launch_, "all_reduce: another process ended or did not answer",
             [&] { work = group_->allreduce(tensors); });
    return std::make_unique<GlooTransfer>(launch_, std::move(work));
  }
  void Broadcast(const at::Tensor& tensor, int64_t root) override {
    std::vector<at::Tensor> tensors = {tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    Exchange(launch_, "broadcast: another process ended or did not answer",
             [&] { group_->broadcast(tensors, options)->wait(); });
  }
  void Barrier() override {
    Exchange(launch_, "barrier: another process ended or did not answer", [&] { group_->barrier()->wait(); });
  }

 private:
  Launch launch_;
  c10::intrusive_ptr<ProcessGroupGloo> group_;
};

c10::intrusive_ptr<c10d::Store> MeetingPlace(const Launch& launch, std::chrono::seconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = launch.port;
  options.isServer = launch.agent_prefix.empty() && launch.rank == 0;
  options.timeout = timeout;
  options.waitWorkers = launch.agent_prefix.empty();
  if (options.waitWorkers) options.numWorkers = static_cast<size_t>(launch.size);
  auto store = c10::make_intrusive<c10d::TCPStore>(launch.address, options);
  if (launch.agent_prefix.empty()) return store;
  return c10::make_intrusive<c10d::PrefixStore>(launch.agent_prefix, std::move(store));
}

auto NetworkDevice(const Launch& launch) {
  if (const char* interface = std::getenv("GLOO_SOCKET_IFNAME"))
    return ProcessGroupGloo::createDeviceForInterface(interface);
  if (launch.address == "localhost" || launch.address.starts_with("127."))
    return ProcessGroupGloo::createDeviceForHostname("127.0.0.1");
  return ProcessGroupGloo::createDefaultDevice();
}

}  // namespace

bool ManyProcesses() {
  return true;
}

std::unique_ptr<Comm> ConnectGloo(const Launch& launch, std::chrono::seconds timeout) {
  c10::intrusive_ptr<ProcessGroupGloo> group;
  const auto meet = [&] {
    auto options = ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(NetworkDevice(launch));
    group = c10::make_intrusive<ProcessGroupGloo>(MeetingPlace(launch, timeout), static_cast<int>(launch.rank),
                                                  static_cast<int>(launch.size), options);
  };
  Exchange(launch, fmt::format("no meeting at {}:{}", launch.address, launch.port), meet, kChoosePort);
  return std::make_unique<Gloo>(launch, std::move(group));
}

}  // namespace espalier

#else

namespace espalier {

bool ManyProcesses() {
  return false;
}

std::unique_ptr<Comm> ConnectGloo(const Launch& launch, std::chrono::seconds) {
  throw RecipeError(fmt::format(
      "{} processes: this build runs one; install Gloo's headers (Debian: libgloo-dev), configure and build again",
      launch.size));
}

}  // namespace espalier

#endif
