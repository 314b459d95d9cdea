#include "espalier/report/ci.h"

#include <gtest/gtest.h>

#include <pugixml.hpp>

namespace espalier {
namespace {

const std::vector<JudgedCase> kCases = {
    {"run", "ratio at most 1.6", "pass", "1.43 [1.41, 1.46]", "r.yaml", 12},
    {"run", "ratio at most 1.2", "fail", "1.43 <& \x01\"control\"", "recipes/a,b:c.yaml", 13},
    {"other", "speed", "inconclusive", "100 %\nof runs", "", 0}};

TEST(JUnit, HasASuiteForEachGroupAndAFailureOrSkipForEachVerdict) {
  const std::string text = RenderJUnit(kCases, {{"espalier", "0.1.0"}});
  pugi::xml_document document;
  ASSERT_TRUE(document.load_string(text.c_str())) << text;
  const pugi::xml_node run = document.child("testsuites").child("testsuite");
  EXPECT_EQ(run.attribute("tests").as_int(), 2);
  EXPECT_EQ(run.attribute("failures").as_int(), 1);
  EXPECT_STREQ(run.child("properties").child("property").attribute("value").value(), "0.1.0");
  const pugi::xml_node failed = run.last_child();
  EXPECT_STREQ(failed.attribute("name").value(), "ratio at most 1.2");
  EXPECT_STREQ(failed.child("failure").attribute("message").value(), "fail: 1.43 <& \"control\"");
  const pugi::xml_node other = run.next_sibling();
  EXPECT_TRUE(other.child("testcase").child("skipped"));
  EXPECT_EQ(RenderJUnit(kCases, {{"espalier", "0.1.0"}}), text);
}

TEST(Annotations, PointAtTheLineAndEscapeWhatWouldEndThem) {
  EXPECT_EQ(RenderAnnotations(kCases),
            "::error file=recipes/a%2Cb%3Ac.yaml,line=13,title=fail%3A ratio at most 1.2::1.43 <& \x01\"control\"\n"
            "::warning title=inconclusive%3A speed::100 %25%0Aof runs\n");
}

TEST(Annotations, AreAtMostTenOfAKind) {
  const std::vector<JudgedCase> many(25, JudgedCase{"run", "gate", "fail", "", "", 0});
  const std::string text = RenderAnnotations(many);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 10);
  EXPECT_NE(text.find("16 more are in the report"), std::string::npos);
}

}  // namespace
}  // namespace espalier
