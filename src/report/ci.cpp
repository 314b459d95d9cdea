#include "espalier/report/ci.h"

#include <fmt/format.h>

#include <algorithm>
#include <pugixml.hpp>
#include <sstream>

#include "espalier/report/format.h"

namespace espalier {
namespace {

constexpr size_t kMostAnnotations = 10;  // of a kind in one step; more are not shown

int Count(const std::vector<JudgedCase>& cases, const std::string& group, std::string_view verdict) {
  int count = 0;
  for (const JudgedCase& one : cases)
    count += one.group == group && (verdict.empty() || one.verdict == verdict) ? 1 : 0;
  return count;
}

void AddCase(const JudgedCase& one, pugi::xml_node suite) {
  pugi::xml_node node = suite.append_child("testcase");
  node.append_attribute("classname") = CleanText(one.group).c_str();
  node.append_attribute("name") = CleanText(one.name).c_str();
  if (!one.file.empty()) node.append_attribute("file") = CleanText(one.file).c_str();
  if (one.line > 0) node.append_attribute("line") = one.line;
  if (one.verdict == "pass") {
    node.append_child("system-out").text() = CleanText(one.detail).c_str();
    return;
  }
  pugi::xml_node outcome = node.append_child(one.verdict == "fail" ? "failure" : "skipped");
  outcome.append_attribute("message") = CleanText(one.verdict + ": " + one.detail).c_str();
}

void AddSuite(const std::vector<JudgedCase>& cases, const std::string& group,
              const std::vector<std::pair<std::string, std::string>>& properties, pugi::xml_node root) {
  pugi::xml_node suite = root.append_child("testsuite");
  suite.append_attribute("name") = CleanText(group).c_str();
  suite.append_attribute("tests") = Count(cases, group, "");
  suite.append_attribute("failures") = Count(cases, group, "fail");
  suite.append_attribute("skipped") = Count(cases, group, "inconclusive");
  suite.append_attribute("errors") = 0;
  if (!properties.empty()) {
    pugi::xml_node list = suite.append_child("properties");
    for (const auto& [name, value] : properties) {
      pugi::xml_node property = list.append_child("property");
      property.append_attribute("name") = CleanText(name).c_str();
      property.append_attribute("value") = CleanText(value).c_str();
    }
  }
  for (const JudgedCase& one : cases)
    if (one.group == group) AddCase(one, suite);
}

std::string Replaced(std::string text, std::initializer_list<std::pair<char, const char*>> table) {
  std::string escaped;
  for (const char c : text) {
    const char* code = nullptr;
    for (const auto& [plain, replacement] : table)
      if (c == plain) code = replacement;
    code ? escaped += code : escaped += c;
  }
  return escaped;
}

// % first would escape the escapes; one pass does not.
std::string Data(const std::string& text) {
  return Replaced(text, {{'%', "%25"}, {'\r', "%0D"}, {'\n', "%0A"}});
}
std::string Property(const std::string& text) {
  return Replaced(text, {{'%', "%25"}, {'\r', "%0D"}, {'\n', "%0A"}, {':', "%3A"}, {',', "%2C"}});
}

std::string Annotation(const char* kind, const JudgedCase& one) {
  std::string place;
  if (!one.file.empty()) place = fmt::format("file={},", Property(one.file));
  if (!one.file.empty() && one.line > 0) place += fmt::format("line={},", one.line);
  return fmt::format("::{} {}title={}::{}\n", kind, place, Property(fmt::format("{}: {}", one.verdict, one.name)),
                     Data(one.detail));
}

std::string AnnotationsOf(const std::vector<JudgedCase>& cases, std::string_view verdict, const char* kind) {
  std::vector<const JudgedCase*> of_kind;
  for (const JudgedCase& one : cases)
    if (one.verdict == verdict) of_kind.push_back(&one);
  const size_t shown = of_kind.size() > kMostAnnotations ? kMostAnnotations - 1 : of_kind.size();
  std::string text;
  for (size_t i = 0; i < shown; ++i) text += Annotation(kind, *of_kind[i]);
  if (shown < of_kind.size())
    text += fmt::format("::{} title=Espalier::{} more are in the report\n", kind, of_kind.size() - shown);
  return text;
}

}  // namespace

std::string RenderJUnit(const std::vector<JudgedCase>& cases,
                        const std::vector<std::pair<std::string, std::string>>& properties) {
  pugi::xml_document document;
  pugi::xml_node declaration = document.append_child(pugi::node_declaration);
  declaration.append_attribute("version") = "1.0";
  declaration.append_attribute("encoding") = "UTF-8";
  pugi::xml_node root = document.append_child("testsuites");
  std::vector<std::string> groups;
  for (const JudgedCase& one : cases)
    if (std::find(groups.begin(), groups.end(), one.group) == groups.end()) groups.push_back(one.group);
  for (const std::string& group : groups) AddSuite(cases, group, properties, root);
  std::ostringstream text;
  document.save(text, "  ");
  return text.str();
}

std::string RenderAnnotations(const std::vector<JudgedCase>& cases) {
  return AnnotationsOf(cases, "fail", "error") + AnnotationsOf(cases, "inconclusive", "warning");
}

}  // namespace espalier
