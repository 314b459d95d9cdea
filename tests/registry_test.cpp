// What every registered component owes its users: a line that says what it does, where it comes from, options that say
// what they mean, and a test that names it.
#include "espalier/core/registry.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace espalier {
namespace {

// All test files but this one, joined.
std::string AllTests() {
  std::stringstream text;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests"))
    if (entry.path().filename().string().ends_with("_test.cpp") && entry.path().filename() != "registry_test.cpp")
      text << std::ifstream(entry.path()).rdbuf();
  return text.str();
}

TEST(Registries, AreAllThere) {
  std::set<std::string> kinds;
  for (const RegistryView& view : AllRegistries()) {
    if (view.kind.starts_with("fake ")) continue;  // other tests' own
    EXPECT_TRUE(kinds.insert(view.kind).second) << view.kind;
    EXPECT_FALSE(view.components().empty()) << view.kind;
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"allocator", "compensator", "context task", "evaluator", "export form",
                                          "gate", "healing method", "model family", "perplexity preset",
                                          "protection rule", "scorer"}));
}

TEST(Components, EachHaveALineOfDocAndASource) {
  for (const RegistryView& view : AllRegistries())
    for (const ComponentInfo* info : view.components()) {
      SCOPED_TRACE(view.kind + " " + info->name);
      EXPECT_GT(info->doc.size(), 10u);
      EXPECT_EQ(info->doc.find('\n'), std::string::npos);
      EXPECT_FALSE(info->source.empty());  // a paper, "ours", or why there is none
    }
}

TEST(Components, EachSayWhatTheirOptionsMean) {
  for (const RegistryView& view : AllRegistries())
    for (const ComponentInfo* info : view.components()) {
      std::set<std::string> names;
      for (const OptionSpec& option : info->options) {
        SCOPED_TRACE(view.kind + " " + info->name + " " + option.name);
        EXPECT_GT(option.doc.size(), 5u);
        EXPECT_TRUE(names.insert(option.name).second);
        if (!std::holds_alternative<std::monostate>(option.default_value)) {
          EXPECT_EQ(option.Problem(option.default_value), "");
        }
      }
    }
}

TEST(Components, EachAreNamedByATest) {
  const std::string tests = AllTests();
  for (const RegistryView& view : AllRegistries())
    for (const ComponentInfo* info : view.components())
      EXPECT_NE(tests.find('"' + info->name + '"'), std::string::npos)
          << view.kind << " " << info->name << " has no test";
}

TEST(Components, OfOneKindHaveTheirOwnNames) {
  for (const RegistryView& view : AllRegistries()) {
    std::set<std::string> names;
    for (const ComponentInfo* info : view.components()) EXPECT_TRUE(names.insert(info->name).second) << info->name;
  }
}

}  // namespace
}  // namespace espalier
