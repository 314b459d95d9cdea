// Real processes on loopback: this binary again, once a rank, with what torchrun would set.
#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "espalier/comm/comm.h"
#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "support/support.h"

extern char** environ;

namespace espalier {
namespace {

constexpr const char* kTask = "ESPALIER_TEST_RANK_TASK";
constexpr const char* kErrors = "ESPALIER_TEST_RANK_ERRORS";

std::unique_ptr<Comm> Meet() {
  return Connect(ReadLaunch([](const char* name) -> const char* { return std::getenv(name); }),
                 std::chrono::seconds(20));
}

// What a rank does; tests below start it. Its mistakes are the exit status.
void Exchange(Comm& comm) {
  const auto rank = static_cast<double>(comm.rank()), size = static_cast<double>(comm.size());
  const at::Tensor sum = at::full({1000}, rank + 1, at::kDouble);
  comm.AllReduce(sum);
  if (!at::equal(sum, at::full({1000}, size * (size + 1) / 2, at::kDouble))) std::_Exit(10);
  const at::Tensor told = at::full({3}, comm.rank(), at::kLong);
  comm.Broadcast(told, comm.size() - 1);
  if (told[2].item<int64_t>() != comm.size() - 1) std::_Exit(11);
  const std::vector<std::string> all = comm.Gather(std::string(static_cast<size_t>(comm.rank()), 'x'));
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i] != std::string(i, 'x')) std::_Exit(12);
  comm.RequireSame("recipe", "hash");
  comm.Barrier();
}

TEST(RankOfATest, DoesItsTask) {
  const char* task = std::getenv(kTask);
  if (task == nullptr) GTEST_SKIP() << "started by the tests of Ranks";
  int code = 0;
  try {
    const auto comm = Meet();
    if (std::string(task) == "dies") {
      comm->Barrier();
      if (comm->rank() == 1) std::_Exit(9);
    }
    if (std::string(task) == "disagrees") comm->RequireSame("recipe", fmt::format("hash{}", comm->rank()));
    Exchange(*comm);
  } catch (const Error& error) {
    WriteFile(fmt::format("{}.{}", std::getenv(kErrors), std::getenv("RANK")), error.what());
    code = 2;
  }
  std::_Exit(code);  // with no word of the test framework
}

int FreePort() {
  const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  const bool bound = bind(descriptor, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                     getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  close(descriptor);
  return bound ? ntohs(address.sin_port) : 0;
}

class Ranks : public testing::Test {
 protected:
  // Exit codes by rank.
  std::vector<int> Run(const std::string& task, int size) {
    const int port = FreePort();
    std::vector<pid_t> processes;
    for (int rank = 0; rank < size; ++rank) {
      std::vector<std::string> variables = {fmt::format("RANK={}", rank),
                                            fmt::format("WORLD_SIZE={}", size),
                                            "MASTER_ADDR=127.0.0.1",
                                            fmt::format("MASTER_PORT={}", port),
                                            "OMP_NUM_THREADS=1",
                                            fmt::format("{}={}", kTask, task),
                                            fmt::format("{}={}", kErrors, (folder_ / "error").string())};
      for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
      std::vector<char*> environment;
      for (std::string& variable : variables) environment.push_back(variable.data());
      environment.push_back(nullptr);
      std::string program = "/proc/self/exe", filter = "--gtest_filter=RankOfATest.*", brief = "--gtest_brief=1";
      char* const arguments[] = {program.data(), filter.data(), brief.data(), nullptr};
      const pid_t process = fork();
      if (process == 0) {
        execve(program.c_str(), arguments, environment.data());
        _exit(127);
      }
      processes.push_back(process);
    }
    std::vector<int> codes;
    for (const pid_t process : processes) {
      int status = 0;
      waitpid(process, &status, 0);
      codes.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    return codes;
  }
  std::string ErrorOf(int rank) const { return ReadFile(folder_ / fmt::format("error.{}", rank)); }

  void SetUp() override {
    if (!ManyProcesses()) GTEST_SKIP() << "built without Gloo's headers";
  }

  TempFolder folder_;
};

TEST_F(Ranks, TwoExchangeWhatTheyHave) {
  EXPECT_EQ(Run("exchanges", 2), std::vector<int>({0, 0}));
}

TEST_F(Ranks, FourExchangeWhatTheyHave) {
  EXPECT_EQ(Run("exchanges", 4), std::vector<int>({0, 0, 0, 0}));
}

TEST_F(Ranks, ThatDisagreeStopAllAndNameBoth) {
  EXPECT_EQ(Run("disagrees", 3), std::vector<int>({2, 2, 2}));
  for (int rank = 0; rank < 3; ++rank)
    EXPECT_NE(ErrorOf(rank).find("recipe: rank 0 has hash0, rank 1 has hash1"), std::string::npos) << ErrorOf(rank);
}

TEST_F(Ranks, StopWithAReasonWhenOneDies) {
  EXPECT_EQ(Run("dies", 2), std::vector<int>({2, 9}));
  EXPECT_NE(ErrorOf(0).find("rank 0 of 2: all_reduce: another process ended"), std::string::npos) << ErrorOf(0);
}

TEST(SingleProcess, ExchangesNothing) {
  const auto comm = SingleProcess();
  EXPECT_EQ(comm->size(), 1);
  EXPECT_TRUE(comm->Leads());
  const at::Tensor x = at::ones({3});
  comm->AllReduce(x);
  comm->Broadcast(x, 0);
  comm->Barrier();
  EXPECT_TRUE(at::equal(x, at::ones({3})));
  EXPECT_EQ(comm->Gather("a"), std::vector<std::string>{"a"});
}

}  // namespace
}  // namespace espalier
