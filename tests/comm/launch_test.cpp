#include "espalier/comm/launch.h"

#include <gtest/gtest.h>

#include <map>

#include "espalier/comm/comm.h"
#include "support/support.h"

namespace espalier {
namespace {

using Variables = std::map<std::string, std::string>;

Variable In(const Variables& variables) {
  return [&variables](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

Launch Read(const Variables& variables) {
  return ReadLaunch(In(variables));
}

TEST(Launch, WithoutALauncherThereIsOneProcess) {
  const Launch launch = Read({{"HOME", "/root"}});
  EXPECT_EQ(launch.rank, 0);
  EXPECT_EQ(launch.size, 1);
}

TEST(Launch, OneProcessNeedsNoMeetingPlace) {
  EXPECT_EQ(Read({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).size, 1);
}

TEST(Launch, TorchrunSaysAllAndItsAgentHostsTheStore) {
  Variables variables = {{"RANK", "3"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "node7"}, {"MASTER_PORT", "4711"}};
  const Launch own = Read(variables);
  EXPECT_EQ(own.rank, 3);
  EXPECT_EQ(own.size, 4);
  EXPECT_EQ(own.address, "node7");
  EXPECT_EQ(own.port, 4711);
  EXPECT_EQ(own.agent_prefix, "");
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  variables["TORCHELASTIC_RESTART_COUNT"] = "2";
  EXPECT_EQ(Read(variables).agent_prefix, "/worker/attempt_2");
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "False";
  EXPECT_EQ(Read(variables).agent_prefix, "");
}

TEST(Launch, MpirunOnOneHostMeetsOnLoopbackAndOnSeveralAsksForTheAddress) {
  Variables variables = {
      {"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  EXPECT_EQ(Read(variables).rank, 1);
  EXPECT_EQ(Read(variables).address, "127.0.0.1");
  EXPECT_EQ(Read(variables).port, 29500);
  variables["OMPI_COMM_WORLD_LOCAL_SIZE"] = "1";
  EXPECT_EQ(MessageOf([&] { Read(variables); }),
            "MASTER_ADDR: not set, OMPI_COMM_WORLD_SIZE says 2 processes; set it to the host of rank 0");
}

TEST(Launch, SrunCountsTheTasksOfItsStepAndABatchScriptIsOneProcess) {
  Variables variables = {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}};
  EXPECT_EQ(Read(variables).size, 1);
  variables["SLURM_STEP_NUM_TASKS"] = "4";
  variables["SLURM_STEP_NUM_NODES"] = "1";
  EXPECT_EQ(Read(variables).size, 4);
  EXPECT_EQ(Read(variables).address, "127.0.0.1");
}

TEST(Launch, WhatIsNoNumberOrOutOfRangeIsRefusedByName) {
  EXPECT_EQ(MessageOf([] {
              Read({{"RANK", "2"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}});
            }),
            "RANK: '2'; expected a number from 0 to 1");
  EXPECT_EQ(MessageOf([] {
              Read({{"RANK", "0"}, {"WORLD_SIZE", "2x"}});
            }),
            "WORLD_SIZE: '2x'; expected a number from 1 to 2147483647");
  EXPECT_EQ(MessageOf([] {
              Read({{"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}});
            }),
            "RANK: not set, the launcher's other variables are; unset those for one process");
}

TEST(Launch, TheTimeoutIsAMinuteUnlessTheVariableSaysOtherwise) {
  const Variables empty;
  EXPECT_EQ(CommTimeout(In(empty)).count(), 60);
  const Variables five = {{"ESPALIER_COMM_TIMEOUT", "5"}}, none = {{"ESPALIER_COMM_TIMEOUT", "0"}};
  EXPECT_EQ(CommTimeout(In(five)).count(), 5);
  EXPECT_EQ(MessageOf([&] { CommTimeout(In(none)); }),
            "ESPALIER_COMM_TIMEOUT: '0'; expected seconds, a number from 1 to 604800");
}

}  // namespace
}  // namespace espalier
