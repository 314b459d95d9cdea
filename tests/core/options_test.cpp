#include "espalier/core/options.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/hash.h"
#include "espalier/core/random.h"

namespace espalier {
namespace {

std::vector<OptionSpec> Specs() {
  return {IntOption("sequences", 32, "windows").Between(1, 100), RealOption("ridge", 0.01, "share").AtLeast(0),
          TextOption("method", "wifv", "name").OneOf({"wifv", "wanda"}), TextOption("path", std::nullopt, "file")};
}

std::string MessageOf(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Options, TakesDefaultsAndWidensWholeNumbers) {
  const Options options(Specs(), {{"path", std::string("a")}, {"ridge", int64_t{2}}}, "recipe");
  EXPECT_EQ(options.Int("sequences"), 32);
  EXPECT_EQ(options.Real("ridge"), 2.0);
  EXPECT_EQ(options.ToJson().dump(), R"({"sequences":32,"ridge":2.0,"method":"wifv","path":"a"})");
}

TEST(Options, NamesKeyFoundAndExpected) {
  const auto with = [](std::map<std::string, OptionValue> values) {
    values.emplace("path", std::string("a"));
    return MessageOf([&] { Options(Specs(), values, "x.yaml:3:1"); });
  };
  EXPECT_EQ(with({{"sequence", int64_t{1}}}),
            "x.yaml:3:1: unknown key 'sequence'. Nearest: sequences. Known: sequences, ridge, method, path.");
  EXPECT_EQ(with({{"sequences", int64_t{0}}}), "x.yaml:3:1: sequences: 0 is not in the range 1 to 100");
  EXPECT_EQ(with({{"sequences", std::string("many")}}), "x.yaml:3:1: sequences: expected a whole number, found 'many'");
  EXPECT_EQ(with({{"method", std::string("wand")}}), "x.yaml:3:1: method: 'wand' is not one of wifv, wanda");
  EXPECT_EQ(MessageOf([] { Options(Specs(), {}, "x.yaml"); }), "x.yaml: path: a value is required");
}

TEST(Options, ChecksEveryNumberOfAList) {
  const std::vector<OptionSpec> specs = {RealListOption("remove", {{0.5}}, "shares").Below(0, 1)};
  EXPECT_EQ(Options(specs).RealList("remove"), std::vector<double>{0.5});
  EXPECT_EQ(Options(specs, {{"remove", std::vector<int64_t>{0, 0}}}, "x").RealList("remove"),
            (std::vector<double>{0, 0}));  // whole numbers are numbers
  EXPECT_EQ(MessageOf([&] {
              Options(specs, {{"remove", std::vector<double>{0.1, 1}}}, "x");
            }),
            "x: remove: [0.1, 1] is not in the range 0 to below 1");
  EXPECT_EQ(MessageOf([&] {
              Options(specs, {{"remove", 0.1}}, "x");
            }),
            "x: remove: expected a list of numbers, found 0.1");
}

TEST(NearestNames, PutsTheClosestFirstAndLeavesOutTheFar) {
  EXPECT_EQ(NearestNames("wanda_s", {"wanda_sp", "wifv", "magnitude"}), std::vector<std::string>{"wanda_sp"});
  EXPECT_TRUE(NearestNames("zzz", {"wanda_sp", "wifv"}).empty());
}

TEST(Sha256, MatchesThePublishedVectorOfAbc) {
  EXPECT_EQ(HashText("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-4
}

TEST(RandomOrder, IsAPermutationThatDependsOnSeedAndStreamOnly) {
  auto order = RandomOrder(100, 7, 1);
  EXPECT_EQ(order, RandomOrder(100, 7, 1));
  EXPECT_NE(order, RandomOrder(100, 7, 2));
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(ReadJson, RefusesDuplicateKeysDeepNestingAndNumbersThatOverflow) {
  EXPECT_EQ(MessageOf([] { ParseJson(R"({"a":1,"a":2})", "f.json"); }), "f.json: duplicate JSON key 'a'");
  EXPECT_EQ(MessageOf([] { ParseJson(std::string(1000, '['), "f.json"); }),
            "f.json: JSON nested deeper than 64 levels");
  EXPECT_EQ(MessageOf([] { ParseJson(R"({"a":)", "f.json"); }),
            "f.json: not valid JSON at byte 6; expected a complete UTF-8 JSON document");
  EXPECT_EQ(MessageOf([] { ParseJson(std::string_view("{}\0x", 4), "f.json"); }),
            "f.json: a zero byte at byte 2; expected a complete UTF-8 JSON document");
  for (const char* number : {"1e999", "[-6.2e616601]"})
    EXPECT_EQ(MessageOf([&] { ParseJson(number, "f.json"); }),
              "f.json: a number in it is too large for any format; expected numbers below 1.8e308");
}

}  // namespace
}  // namespace espalier
