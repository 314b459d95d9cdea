// espalier compare as a user calls it: what it prints, writes, and returns.
#include <gtest/gtest.h>

#include "espalier/core/files.h"
#include "support/command.h"
#include "support/evaluation_sample.h"
#include "support/json_schema.h"
#include "support/support.h"

namespace espalier {
namespace {

class CompareCommand : public testing::Test {
 protected:
  CompareCommand() {
    const at::Tensor losses = at::arange(8192, at::kFloat).remainder(5);
    WriteEvaluation(SampleEvaluation("base", {{"text", losses}}), folder_ / "base");
    WriteEvaluation(SampleEvaluation("same", {{"text", losses + 0.001}}), folder_ / "same");
    WriteEvaluation(SampleEvaluation("worse", {{"text", losses + 0.1}}), folder_ / "worse");
  }
  Outcome Compare(const std::string& base, const std::string& head, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"compare", (folder_ / base).string(), (folder_ / head).string(), "--out",
                                          (folder_ / "out").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunCommand(arguments);
  }
  TempFolder folder_;
};

TEST_F(CompareCommand, ReturnsZeroOneTwoOrThree) {
  EXPECT_EQ(Compare("base", "same").code, 0);
  EXPECT_EQ(Compare("base", "worse").code, 1);
  EXPECT_EQ(Compare("base", "worse", {"--tolerance", "0.2"}).code, 0);
  EXPECT_EQ(Compare("base", "base").code, 2);
  WriteEvaluation(ReadEvaluation(folder_ / "base"), folder_ / "copy");
  EXPECT_EQ(Compare("base", "copy").code, 3);
  EXPECT_EQ(Compare("base", "copy", {"--identical", "pass"}).code, 0);
  EXPECT_EQ(Compare("base", "missing").code, 2);
  EXPECT_EQ(Compare("base", "same", {"--tolerance", "-1"}).code, 2);
}

TEST_F(CompareCommand, WritesEveryFormOfTheSameVerdict) {
  const Outcome outcome = Compare("base", "worse");
  EXPECT_NE(outcome.out.find("FAIL: text x1.1052 (limit: at most x1.01)."), std::string::npos) << outcome.out;
  EXPECT_EQ(SchemaCheck::Problems(ReadJson(folder_ / "out/comparison.json"), "comparison-1"),
            std::vector<std::string>{});
  for (const char* form : {"comparison.md", "comparison.html", "comparison.csv", "junit.xml"})
    EXPECT_NE(ReadFile(folder_ / "out" / form).find("fail"), std::string::npos) << form;
  const std::string page = ReadFile(folder_ / "out/comparison.html");
  Compare("base", "worse");
  EXPECT_EQ(ReadFile(folder_ / "out/comparison.html"), page);
}

}  // namespace
}  // namespace espalier
