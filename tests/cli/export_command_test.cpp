// What espalier export and convert say when they are called wrongly: one line, exit code 2.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/command.h"
#include "support/support.h"

namespace espalier {
namespace {

std::string Said(const std::vector<std::string>& arguments) {
  const Outcome outcome = RunCommand(arguments);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  return outcome.err;
}

TEST(ExportCommand, SaysInOneLineWhatIsWrong) {
  const std::string folder = ESPALIER_SOURCE_DIR "/tests/io/fixtures/tiny_llama";
  EXPECT_NE(Said({"export"}).find("no run or model given"), std::string::npos);
  EXPECT_NE(Said({"export", folder}).find("--to is missing"), std::string::npos);
  EXPECT_NE(Said({"export", folder, "--to", "ggfu"}).find("Nearest: gguf"), std::string::npos);
  EXPECT_NE(Said({"export", folder, "--to", "gguf", "--verify", "maybe"}).find("expected on or off"),
            std::string::npos);
  EXPECT_NE(Said({"export", folder, folder, "--to", "gguf"}).find("one run or model at a time"), std::string::npos);
  EXPECT_NE(Said({"export", "/nowhere", "--to", "hf"}).find("no such file or folder"), std::string::npos);
}

TEST(ConvertCommand, SaysInOneLineWhatIsWrong) {
  const std::string folder = ESPALIER_SOURCE_DIR "/tests/io/fixtures/tiny_llama";
  EXPECT_NE(Said({"convert", folder}).find("1 paths given, expected MODEL and OUT"), std::string::npos);
  EXPECT_NE(Said({"convert", folder, "out.gguf", "--to", "gguf", "--gate-layout", "A"}).find("no GGUF architecture"),
            std::string::npos);
  EXPECT_NE(Said({"convert", folder, "out", "--shard-size", "tiny"}).find("'tiny' is no size"), std::string::npos);
}

}  // namespace
}  // namespace espalier
