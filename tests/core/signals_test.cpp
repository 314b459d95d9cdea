#include "espalier/core/signals.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "espalier/core/error.h"
#include "espalier/core/exit_codes.h"
#include "espalier/core/files.h"
#include "espalier/io/tensors.h"
#include "support/support.h"

namespace espalier {
namespace {

// Maps a file, then somebody else cuts it. Small: no work for threads, which a forked test does not have.
void ReadWhatWasCutOff(const std::filesystem::path& path) {
  CatchSignals();
  SaveTensors(path, {{"a", at::ones({8 << 10})}});
  const NamedTensors mapped = LoadTensors(path, /*map_bytes=*/1);
  if (::truncate(path.c_str(), 4096) != 0) std::_Exit(99);
  std::_Exit(mapped.at("a").sum().item<float>() > 0 ? 98 : 97);
}

TEST(SignalsDeathTest, AMappedFileThatShrinksEndsTheProcessWithALineThatNamesIt) {
  const TempFolder folder;
  EXPECT_EXIT(ReadWhatWasCutOff(folder / "statistics.safetensors"), testing::ExitedWithCode(kExitUsage),
              "statistics.safetensors: became shorter while it was read");
}

void ReadAMappingThatNobodyKnows(const std::filesystem::path& path) {
  CatchSignals();
  SaveTensors(path, {{"a", at::ones({8 << 10})}});
  const NamedTensors mapped = LoadTensors(path, 1);
  for (const auto& [name, tensor] : mapped) {
    const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    ForgetMapping(reinterpret_cast<void*>(reinterpret_cast<size_t>(tensor.data_ptr()) / page * page));
  }
  if (::truncate(path.c_str(), 4096) != 0) std::_Exit(99);
  std::_Exit(mapped.at("a").sum().item<float>() > 0 ? 98 : 97);
}

TEST(SignalsDeathTest, ABusErrorElsewhereEndsTheProcessAsUsual) {
  const TempFolder folder;
  EXPECT_EXIT(ReadAMappingThatNobodyKnows(folder / "other.safetensors"), testing::KilledBySignal(SIGBUS), "");
}

void AskAfter(int signal) {
  CatchSignals();
  std::raise(signal);
  try {
    CheckInterrupt();
  } catch (const Interrupted& stop) {
    std::fputs(stop.what(), stderr);
    std::_Exit(0);
  }
}

TEST(SignalsDeathTest, WorkThatAsksIsToldAndUnwinds) {
  for (const int signal : {SIGINT, SIGTERM})
    EXPECT_EXIT(AskAfter(signal), testing::ExitedWithCode(0), "interrupted; what is finished is kept");
}

void NeverAsk() {
  CatchSignals();
  std::raise(SIGINT);
  while (true) std::this_thread::sleep_for(std::chrono::seconds(1));
}

TEST(SignalsDeathTest, WorkThatDoesNotAskIsEndedAllTheSame) {
  EXPECT_EXIT(NeverAsk(), testing::ExitedWithCode(kExitInterrupted), "the same command goes on from there");
}

TEST(SignalsDeathTest, ASecondSignalMeansNow) {
  const auto twice = [] {
    CatchSignals();
    std::raise(SIGINT);
    std::raise(SIGINT);
  };
  EXPECT_EXIT(twice(), testing::ExitedWithCode(kExitInterrupted), "^$");
}

}  // namespace
}  // namespace espalier
