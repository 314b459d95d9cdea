#pragma once
// Typed, range-checked options. A component or recipe section declares each option once; parsing, range checks,
// defaults, `espalier describe`, error texts and the resolved recipe all come from that one declaration.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

enum class OptionType { kBool, kInt, kReal, kText, kTextList, kIntList, kRealList };
std::string_view OptionTypeName(OptionType type);  // "whole number", "list of texts", ...

// monostate: no value (an optional option that was not given).
using OptionValue = std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<std::string>,
                                 std::vector<int64_t>, std::vector<double>>;

struct OptionSpec {
  std::string name;
  OptionType type = OptionType::kText;
  OptionValue default_value;       // monostate: required, unless `optional`
  std::string doc;                 // one line: meaning, unit, source
  bool optional = false;           // may stay without a value
  std::optional<double> min, max;  // kInt, kReal and each element of their lists; inclusive
  bool max_exclusive = false;
  std::vector<std::string> choices;  // kText and each element of kTextList; empty: any
  // Text of the range or choices, for messages and manuals: "1 to 100", "one of a, b".
  std::string Range() const;
  // What is wrong with `value` for this option, or empty.
  std::string Problem(const OptionValue& value) const;

  // Chainable, so that a declaration reads as one line.
  OptionSpec& Between(double low, double high) {
    min = low;
    max = high;
    return *this;
  }
  OptionSpec& AtLeast(double low) {
    min = low;
    return *this;
  }
  OptionSpec& Below(double low, double high) {
    min = low;
    max = high;
    max_exclusive = true;
    return *this;
  }
  OptionSpec& OneOf(std::vector<std::string> names) {
    choices = std::move(names);
    return *this;
  }
  OptionSpec& Optional() {
    optional = true;
    return *this;
  }
};

// Without a default the option is required (or call Optional()).
OptionSpec BoolOption(std::string name, std::optional<bool> value, std::string doc);
OptionSpec IntOption(std::string name, std::optional<int64_t> value, std::string doc);
OptionSpec RealOption(std::string name, std::optional<double> value, std::string doc);
OptionSpec TextOption(std::string name, std::optional<std::string> value, std::string doc);
OptionSpec TextListOption(std::string name, std::optional<std::vector<std::string>> value, std::string doc);
OptionSpec IntListOption(std::string name, std::optional<std::vector<int64_t>> value, std::string doc);
OptionSpec RealListOption(std::string name, std::optional<std::vector<double>> value, std::string doc);

// The values of one section or component, every declared option present. Reading an undeclared name is an
// InternalError.
class Options {
 public:
  Options() = default;
  // All defaults. Throws RecipeError when a required option has none.
  explicit Options(std::vector<OptionSpec> specs);
  // `values` over the defaults. Throws RecipeError: unknown name (with the nearest), missing, wrong type, out of range.
  Options(std::vector<OptionSpec> specs, std::map<std::string, OptionValue> values, std::string_view where);

  bool Has(std::string_view name) const;  // declared and with a value
  bool Bool(std::string_view name) const;
  int64_t Int(std::string_view name) const;
  double Real(std::string_view name) const;
  const std::string& Text(std::string_view name) const;
  const std::vector<std::string>& TextList(std::string_view name) const;
  const std::vector<int64_t>& IntList(std::string_view name) const;
  const std::vector<double>& RealList(std::string_view name) const;

  const std::vector<OptionSpec>& specs() const { return specs_; }
  const OptionValue& Value(std::string_view name) const;
  void Set(std::string_view name, OptionValue value);  // checked against the declaration
  Json ToJson() const;                                 // in declaration order; absent values left out

 private:
  std::vector<OptionSpec> specs_;
  std::map<std::string, OptionValue, std::less<>> values_;
};

std::string FormatOptionValue(const OptionValue& value);

}  // namespace espalier
