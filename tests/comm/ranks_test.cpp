// Real processes on loopback: this binary again, once a rank, with what torchrun would set.
#include "support/ranks.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "espalier/comm/comm.h"
#include "espalier/comm/share.h"
#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "support/support.h"

namespace espalier {
namespace {

constexpr const char* kTask = "ESPALIER_TEST_RANK_TASK";
constexpr const char* kErrors = "ESPALIER_TEST_RANK_ERRORS";

std::unique_ptr<Comm> Meet(std::chrono::seconds timeout = std::chrono::seconds(20)) {
  return Connect(ReadLaunch([](const char* name) -> const char* { return std::getenv(name); }), timeout);
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

// Rank r has r + 1 rows of its number; rank 0 then works for longer than the timeout of an exchange.
void Divide(Comm& comm) {
  const at::Tensor rows = GatherRows(comm, at::full({comm.rank() + 1, 2}, comm.rank(), at::kLong));
  if (rows.size(0) != comm.size() * (comm.size() + 1) / 2) std::_Exit(13);
  for (int64_t rank = 0, row = 0; rank < comm.size(); ++rank)
    for (int64_t i = 0; i <= rank; ++i)
      if (rows[row++][1].item<int64_t>() != rank) std::_Exit(14);
  int worked = 0;
  OnLeader(comm, [&] {
    std::this_thread::sleep_for(std::chrono::seconds(3));
    ++worked;
  });
  if (worked != (comm.Leads() ? 1 : 0)) std::_Exit(15);
  comm.Barrier();
}

TEST(RankOfATest, DoesItsTask) {
  const char* task = std::getenv(kTask);
  if (task == nullptr) GTEST_SKIP() << "started by the tests of Ranks";
  int code = 0;
  try {
    if (std::string(task) == "divides") {
      const auto comm = Meet(std::chrono::seconds(2));
      Divide(*comm);
      std::_Exit(0);
    }
    const auto comm = Meet();
    if (std::string(task) == "leader fails") OnLeader(*comm, [] { throw NumericError("the leader's mistake"); });
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

class Ranks : public testing::Test {
 protected:
  // Exit codes by rank.
  std::vector<int> Run(const std::string& task, int size) {
    const int port = FreePort();
    std::vector<pid_t> processes;
    for (int rank = 0; rank < size; ++rank) {
      std::vector<std::string> variables = RankEnvironment(rank, size, port);
      variables.push_back(fmt::format("{}={}", kTask, task));
      variables.push_back(fmt::format("{}={}", kErrors, (folder_ / "error").string()));
      std::vector<char*> environment = Pointers(variables);
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

TEST_F(Ranks, DivideWorkAndWaitForTheLeaderLongerThanAnExchangeMayTake) {
  EXPECT_EQ(Run("divides", 3), std::vector<int>({0, 0, 0}));
}

TEST_F(Ranks, HearThatTheLeaderFailed) {
  EXPECT_EQ(Run("leader fails", 2), std::vector<int>({2, 2}));
  EXPECT_EQ(ErrorOf(0), "the leader's mistake");
  EXPECT_NE(ErrorOf(1).find("another rank stopped with a mistake"), std::string::npos) << ErrorOf(1);
}

class RankOfMany final : public Comm {
 public:
  RankOfMany(int64_t rank, int64_t size) : rank_(rank), size_(size) {}
  int64_t rank() const override { return rank_; }
  int64_t size() const override { return size_; }
  std::unique_ptr<Transfer> StartAllReduce(const at::Tensor&) override { return nullptr; }
  void Broadcast(const at::Tensor&, int64_t) override {}
  void Barrier() override {}

 private:
  int64_t rank_, size_;
};

TEST(OwnShare, IsContiguousInTheOrderOfRanksAndNeverUnevenByMoreThanOne) {
  for (const int64_t count : {0, 1, 3, 10, 11})
    for (const int64_t size : {1, 2, 4}) {
      int64_t next = 0;
      for (int64_t rank = 0; rank < size; ++rank) {
        const Share share = OwnShare(RankOfMany(rank, size), count);
        EXPECT_EQ(share.first, next);
        EXPECT_GE(share.end - share.first, count / size);
        EXPECT_LE(share.end - share.first, count / size + 1);
        next = share.end;
      }
      EXPECT_EQ(next, count);
    }
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
