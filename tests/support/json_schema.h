#pragma once
// Enough of JSON Schema (draft 2020-12) to hold our documents against docs/schemas: type, enum, minimum, pattern,
// properties, required, additionalProperties, items, $ref. A keyword it does not know fails the test, so that a schema
// never says more than is checked.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

class SchemaCheck {
 public:
  // What is wrong with `document`, each with its place; empty: it conforms to docs/schemas/`name`.schema.json.
  static std::vector<std::string> Problems(const Json& document, const std::string& name) {
    SchemaCheck check;
    const Json root = Load(name);
    check.Check(document, root, root, "$");
    return check.problems_;
  }

 private:
  static Json Load(const std::string& name) {
    return ReadJson(std::string(ESPALIER_SOURCE_DIR) + "/docs/schemas/" + name + ".schema.json");
  }

  static bool HasType(const Json& value, const std::string& type) {
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "boolean") return value.is_boolean();
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    return type == "null" && value.is_null();
  }

  void Check(const Json& value, const Json& schema, const Json& root, const std::string& at) {
    for (const auto& [keyword, rule] : schema.items()) CheckKeyword(value, schema, root, at, keyword, rule);
  }

  void CheckKeyword(const Json& value, const Json& schema, const Json& root, const std::string& at,
                    const std::string& keyword, const Json& rule) {
    static const std::vector<std::string> kSilent = {"$schema", "$id", "$defs", "title", "description"};
    if (std::find(kSilent.begin(), kSilent.end(), keyword) != kSilent.end()) return;
    if (keyword == "type") return CheckType(value, rule, at);
    if (keyword == "enum") return Require(std::find(rule.begin(), rule.end(), value) != rule.end(), at, "not in enum");
    if (keyword == "minimum") return Require(!value.is_number() || value >= rule, at, "below the minimum");
    if (keyword == "pattern")
      return Require(
          !value.is_string() || std::regex_search(value.get<std::string>(), std::regex(rule.get<std::string>())), at,
          "does not match the pattern");
    if (keyword == "required") {
      for (const auto& key : rule) Require(value.contains(key.get<std::string>()), at, "lacks " + key.dump());
      return;
    }
    if (keyword == "items") {
      for (size_t i = 0; value.is_array() && i < value.size(); ++i)
        Check(value[i], rule, root, at + "[" + std::to_string(i) + "]");
      return;
    }
    if (keyword == "properties") {
      for (const auto& [key, sub] : rule.items())
        if (value.contains(key)) Check(value[key], sub, root, at + "." + key);
      return;
    }
    if (keyword == "additionalProperties") return CheckAdditional(value, schema, root, rule, at);
    if (keyword == "$ref") return CheckReference(value, root, rule.get<std::string>(), at);
    Require(false, at, "the schema uses a keyword this check does not know: " + keyword);
  }

  void CheckType(const Json& value, const Json& rule, const std::string& at) {
    bool matches = rule.is_string() && HasType(value, rule);
    for (size_t i = 0; rule.is_array() && i < rule.size(); ++i) matches = matches || HasType(value, rule[i]);
    Require(matches, at, "is not " + rule.dump());
  }

  void CheckAdditional(const Json& value, const Json& schema, const Json& root, const Json& rule,
                       const std::string& at) {
    for (const auto& [key, member] : value.items()) {
      if (schema.contains("properties") && schema["properties"].contains(key)) continue;
      if (rule == false) Require(false, at, "has the unknown key " + key);
      if (rule.is_object()) Check(member, rule, root, at + "." + key);
    }
  }

  void CheckReference(const Json& value, const Json& root, const std::string& reference, const std::string& at) {
    constexpr std::string_view kOwn = "#", kOther = "urn:espalier:";
    if (reference.starts_with(kOwn))
      return Check(value, root.at(Json::json_pointer(reference.substr(kOwn.size()))), root, at);
    const Json other = Load(reference.substr(kOther.size()));
    Check(value, other, other, at);
  }

  void Require(bool holds, const std::string& at, const std::string& problem) {
    if (!holds) problems_.push_back(at + ": " + problem);
  }

  std::vector<std::string> problems_;
};

}  // namespace espalier
