#include "espalier/core/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"

namespace espalier {
namespace {

template <class T>
OptionSpec MakeSpec(OptionType type, std::string name, std::optional<T> value, std::string doc) {
  OptionSpec spec;
  spec.name = std::move(name);
  spec.type = type;
  if (value) spec.default_value = std::move(*value);
  spec.doc = std::move(doc);
  return spec;
}

bool HoldsType(const OptionValue& value, OptionType type) {
  switch (type) {
    case OptionType::kBool:
      return std::holds_alternative<bool>(value);
    case OptionType::kInt:
      return std::holds_alternative<int64_t>(value);
    case OptionType::kReal:
      return std::holds_alternative<double>(value) || std::holds_alternative<int64_t>(value);
    case OptionType::kText:
      return std::holds_alternative<std::string>(value);
    case OptionType::kTextList:
      return std::holds_alternative<std::vector<std::string>>(value);
    case OptionType::kIntList:
      return std::holds_alternative<std::vector<int64_t>>(value);
    case OptionType::kRealList:
      return std::holds_alternative<std::vector<double>>(value) || std::holds_alternative<std::vector<int64_t>>(value);
  }
  return false;
}

// An integer given where a real number is wanted is one.
OptionValue Widened(OptionValue value, OptionType type) {
  if (type == OptionType::kReal && std::holds_alternative<int64_t>(value))
    return static_cast<double>(std::get<int64_t>(value));
  if (type == OptionType::kRealList && std::holds_alternative<std::vector<int64_t>>(value)) {
    const auto& whole = std::get<std::vector<int64_t>>(value);
    return std::vector<double>(whole.begin(), whole.end());
  }
  return value;
}

std::string Number(double value) {
  return fmt::format("{}", value);
}

}  // namespace

std::string_view OptionTypeName(OptionType type) {
  switch (type) {
    case OptionType::kBool:
      return "true or false";
    case OptionType::kInt:
      return "whole number";
    case OptionType::kReal:
      return "number";
    case OptionType::kText:
      return "text";
    case OptionType::kTextList:
      return "list of texts";
    case OptionType::kIntList:
      return "list of whole numbers";
    case OptionType::kRealList:
      return "list of numbers";
  }
  return "";
}

OptionSpec BoolOption(std::string name, std::optional<bool> value, std::string doc) {
  return MakeSpec(OptionType::kBool, std::move(name), value, std::move(doc));
}
OptionSpec IntOption(std::string name, std::optional<int64_t> value, std::string doc) {
  return MakeSpec(OptionType::kInt, std::move(name), value, std::move(doc));
}
OptionSpec RealOption(std::string name, std::optional<double> value, std::string doc) {
  return MakeSpec(OptionType::kReal, std::move(name), value, std::move(doc));
}
OptionSpec TextOption(std::string name, std::optional<std::string> value, std::string doc) {
  return MakeSpec(OptionType::kText, std::move(name), std::move(value), std::move(doc));
}
OptionSpec TextListOption(std::string name, std::optional<std::vector<std::string>> value, std::string doc) {
  return MakeSpec(OptionType::kTextList, std::move(name), std::move(value), std::move(doc));
}
OptionSpec IntListOption(std::string name, std::optional<std::vector<int64_t>> value, std::string doc) {
  return MakeSpec(OptionType::kIntList, std::move(name), std::move(value), std::move(doc));
}
OptionSpec RealListOption(std::string name, std::optional<std::vector<double>> value, std::string doc) {
  return MakeSpec(OptionType::kRealList, std::move(name), std::move(value), std::move(doc));
}

std::string OptionSpec::Range() const {
  if (!choices.empty()) return fmt::format("one of {}", fmt::join(choices, ", "));
  if (min && max) return fmt::format("{} to {}{}", Number(*min), max_exclusive ? "below " : "", Number(*max));
  if (min) return fmt::format("at least {}", Number(*min));
  if (max) return fmt::format("at most {}", Number(*max));
  return "";
}

std::string OptionSpec::Problem(const OptionValue& value) const {
  if (std::holds_alternative<std::monostate>(value)) return optional ? "" : "a value is required";
  if (!HoldsType(value, type))
    return fmt::format("expected a {}, found {}", OptionTypeName(type), FormatOptionValue(value));
  const auto outside = [this](double number) {
    return !std::isfinite(number) || (min && number < *min) ||
           (max && (max_exclusive ? number >= *max : number > *max));
  };
  const auto unlisted = [this](const std::string& text) {
    return !choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end();
  };
  bool bad = false;
  if (const auto* number = std::get_if<int64_t>(&value)) bad = outside(static_cast<double>(*number));
  if (const auto* number = std::get_if<double>(&value)) bad = outside(*number);
  if (const auto* list = std::get_if<std::vector<int64_t>>(&value))
    for (const int64_t number : *list) bad = bad || outside(static_cast<double>(number));
  if (const auto* list = std::get_if<std::vector<double>>(&value))
    for (const double number : *list) bad = bad || outside(number);
  if (const auto* text = std::get_if<std::string>(&value)) bad = unlisted(*text);
  if (const auto* list = std::get_if<std::vector<std::string>>(&value))
    for (const std::string& text : *list) bad = bad || unlisted(text);
  return bad ? fmt::format("{} is not {}{}", FormatOptionValue(value), choices.empty() ? "in the range " : "", Range())
             : "";
}

Options::Options(std::vector<OptionSpec> specs) : Options(std::move(specs), {}, "options") {}

Options::Options(std::vector<OptionSpec> specs, std::map<std::string, OptionValue> values, std::string_view where)
    : specs_(std::move(specs)) {
  std::vector<std::string> names;
  for (const OptionSpec& spec : specs_) names.push_back(spec.name);
  for (const auto& [name, value] : values)
    if (std::find(names.begin(), names.end(), name) == names.end())
      throw RecipeError(fmt::format("{}: {}", where, UnknownName("key", name, names)));
  for (const OptionSpec& spec : specs_) {
    const auto given = values.find(spec.name);
    OptionValue value = Widened(given == values.end() ? spec.default_value : given->second, spec.type);
    const std::string problem = spec.Problem(value);
    if (!problem.empty()) throw RecipeError(fmt::format("{}: {}: {}", where, spec.name, problem));
    values_[spec.name] = std::move(value);
  }
}

const OptionValue& Options::Value(std::string_view name) const {
  const auto found = values_.find(name);
  ESPALIER_CHECK(found != values_.end(), fmt::format("option '{}' was never declared", name));
  return found->second;
}

bool Options::Has(std::string_view name) const {
  const auto found = values_.find(name);
  return found != values_.end() && !std::holds_alternative<std::monostate>(found->second);
}

bool Options::Bool(std::string_view name) const {
  return std::get<bool>(Value(name));
}
int64_t Options::Int(std::string_view name) const {
  return std::get<int64_t>(Value(name));
}
double Options::Real(std::string_view name) const {
  return std::get<double>(Value(name));
}
const std::string& Options::Text(std::string_view name) const {
  return std::get<std::string>(Value(name));
}
const std::vector<std::string>& Options::TextList(std::string_view name) const {
  return std::get<std::vector<std::string>>(Value(name));
}
const std::vector<int64_t>& Options::IntList(std::string_view name) const {
  return std::get<std::vector<int64_t>>(Value(name));
}
const std::vector<double>& Options::RealList(std::string_view name) const {
  return std::get<std::vector<double>>(Value(name));
}

void Options::Set(std::string_view name, OptionValue value) {
  for (const OptionSpec& spec : specs_) {
    if (spec.name != name) continue;
    value = Widened(std::move(value), spec.type);
    const std::string problem = spec.Problem(value);
    if (!problem.empty()) throw RecipeError(fmt::format("{}: {}", name, problem));
    values_[spec.name] = std::move(value);
    return;
  }
  ESPALIER_CHECK(false, fmt::format("option '{}' was never declared", name));
}

Json Options::ToJson() const {
  Json json = Json::object();
  for (const OptionSpec& spec : specs_) {
    std::visit(
        [&](const auto& value) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(value)>, std::monostate>) json[spec.name] = value;
        },
        values_.find(spec.name)->second);
  }
  return json;
}

std::string FormatOptionValue(const OptionValue& value) {
  return std::visit(
      [](const auto& held) -> std::string {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, std::monostate>)
          return "nothing";
        else if constexpr (std::is_same_v<T, bool>)
          return held ? "true" : "false";
        else if constexpr (std::is_same_v<T, std::string>)
          return fmt::format("'{}'", held);
        else if constexpr (std::is_arithmetic_v<T>)
          return fmt::format("{}", held);
        else
          return fmt::format("[{}]", fmt::join(held, ", "));
      },
      value);
}

}  // namespace espalier
