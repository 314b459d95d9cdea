#include "scalars.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr double kLargestExactWhole = 9007199254740992.0;  // 2^53: beyond it a double skips whole numbers

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool AllDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string_view WithoutSign(std::string_view text) {
  if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
  return text;
}

// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
bool LooksLikeNumber(std::string_view text) {
  text = WithoutSign(text);
  const size_t exponent = text.find_first_of("eE");
  if (exponent != std::string_view::npos && !AllDigits(WithoutSign(text.substr(exponent + 1)))) return false;
  const std::string_view mantissa = text.substr(0, exponent);
  const size_t dot = mantissa.find('.');
  const std::string_view whole = mantissa.substr(0, dot);
  const std::string_view fraction = dot == std::string_view::npos ? "" : mantissa.substr(dot + 1);
  if (!whole.empty() && !AllDigits(whole)) return false;
  if (!fraction.empty() && !AllDigits(fraction)) return false;
  return !whole.empty() || !fraction.empty();
}

std::optional<int64_t> ReadWhole(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x")) base = 16;
  if (text.starts_with("0o")) base = 8;
  if (base != 10) text.remove_prefix(2);
  if (base == 10 ? !AllDigits(WithoutSign(text)) : text.starts_with('-')) return std::nullopt;
  if (text.starts_with('+')) text.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

double ReadNumber(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc::result_out_of_range) return value;
  const bool tiny = text.find("e-") != std::string_view::npos || text.find("E-") != std::string_view::npos;
  return tiny ? 0.0 : std::numeric_limits<double>::infinity();
}

std::string Lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

std::string SwitchHint(const Node& node) {
  const std::string word = Lower(node.text);
  if (IsOneOf(word, {"yes", "on", "y", "true", "1"})) return " Write true.";
  if (IsOneOf(word, {"no", "off", "n", "false", "0"})) return " Write false.";
  return "";
}

// For "1_000", "1,000", "32k", "0.3" in quotes and "25%".
std::string NumberHint(const Node& node, bool is_share) {
  std::string text = node.text;
  if (node.quoted && LooksLikeNumber(text)) return " Write it without quotes.";
  if (is_share && text.ends_with('%')) {
    text.pop_back();
    while (text.ends_with(' ')) text.pop_back();
    if (LooksLikeNumber(text)) return fmt::format(" For {} percent write {:.6g}.", text, ReadNumber(text) / 100);
  }
  std::erase_if(text, [](char c) { return c == '_' || c == ',' || c == '\''; });
  if (text != node.text && AllDigits(text)) return fmt::format(" Write {}.", text);
  if (!text.ends_with('k') && !text.ends_with('K')) return "";
  text.pop_back();
  if (!AllDigits(text) || text.size() > 12) return "";
  const int64_t thousands = *ReadWhole(text);
  return fmt::format(" Write {} or {}.", thousands * 1000, thousands * 1024);
}

struct Reading {
  OptionValue value;
  std::string problem;  // empty: `value` holds
};

Reading WrongType(OptionType type, const Node& node, const std::string& hint) {
  const bool article = type != OptionType::kBool;
  return {{}, fmt::format("expected {}{}, found {}.{}", article ? "a " : "", OptionTypeName(type), Found(node), hint)};
}

Reading ReadBool(const Node& node) {
  const OptionValue value = ReadScalar(node);
  if (std::holds_alternative<bool>(value)) return {value, ""};
  return WrongType(OptionType::kBool, node, SwitchHint(node));
}

Reading ReadInt(const Node& node) {
  const OptionValue value = ReadScalar(node);
  if (std::holds_alternative<int64_t>(value)) return {value, ""};
  const double* number = std::get_if<double>(&value);
  if (number == nullptr) return WrongType(OptionType::kInt, node, NumberHint(node, false));
  if (!std::isfinite(*number) || *number != std::floor(*number)) return WrongType(OptionType::kInt, node, "");
  if (std::abs(*number) > kLargestExactWhole)
    return {{}, fmt::format("{} is too large for a whole number.", OneLine(node.text, 40))};
  return {static_cast<int64_t>(*number), ""};
}

Reading ReadReal(const Node& node, const OptionSpec& option) {
  const OptionValue value = ReadScalar(node);
  const bool is_share = option.max && *option.max == 1.0;
  if (std::holds_alternative<bool>(value) || std::holds_alternative<std::string>(value))
    return WrongType(OptionType::kReal, node, NumberHint(node, is_share));
  const int64_t* whole = std::get_if<int64_t>(&value);
  const double number = whole != nullptr && *whole != 0 ? static_cast<double>(*whole)
                        : whole != nullptr              ? ReadNumber(node.text)  // keeps the sign of -0
                                                        : std::get<double>(value);
  if (!std::isfinite(number)) return {{}, fmt::format("expected a finite number, found {}.", OneLine(node.text, 40))};
  return {number, ""};
}

Reading ReadText(const Node& node) {
  if (std::holds_alternative<std::string>(ReadScalar(node))) return {node.text, ""};
  return WrongType(OptionType::kText, node, fmt::format(" Write \"{}\".", OneLine(node.text, 40)));
}

// What Problem says about `value`, as a sentence, and what was probably meant.
std::string RangeProblem(const OptionSpec& option, const OptionValue& value, const std::string& text) {
  const std::string problem = option.Problem(value);
  if (problem.empty()) return "";
  std::string hint;
  const auto* list = std::get_if<std::vector<double>>(&value);
  const double* number = list != nullptr && list->size() == 1 ? list->data() : std::get_if<double>(&value);
  if (number != nullptr && option.max && *option.max == 1.0)
    if (*number > 1 && *number <= 100) hint = fmt::format(" For {} percent write {:.6g}.", *number, *number / 100);
  const std::vector<std::string> nearest = NearestNames(OneLine(text), option.choices);
  if (!nearest.empty()) hint = fmt::format(" Nearest: {}.", fmt::join(nearest, ", "));
  return problem + "." + hint;
}

Reading ReadOne(const Node& node, const OptionSpec& option) {
  switch (option.type) {
    case OptionType::kBool:
      return ReadBool(node);
    case OptionType::kInt:
    case OptionType::kIntList:
      return ReadInt(node);
    case OptionType::kReal:
    case OptionType::kRealList:
      return ReadReal(node, option);
    case OptionType::kText:
    case OptionType::kTextList:
      return ReadText(node);
  }
  return {};
}

std::optional<OptionValue> Checked(const Node& node, const OptionSpec& option, Reading reading, const std::string& key,
                                   Mistakes& mistakes) {
  if (reading.problem.empty()) reading.problem = RangeProblem(option, reading.value, node.text);
  if (reading.problem.empty()) return std::move(reading.value);
  mistakes.Add(node.at, key, reading.problem);
  return std::nullopt;
}

OptionType ElementType(OptionType list) {
  if (list == OptionType::kIntList) return OptionType::kInt;
  return list == OptionType::kRealList ? OptionType::kReal : OptionType::kText;
}

// Every element is checked alone, so that its mistake has its own place.
template <class T>
std::optional<OptionValue> ReadList(const std::vector<Node>& items, const OptionSpec& option, const std::string& key,
                                    Mistakes& mistakes) {
  std::vector<T> list;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string item_key = fmt::format("{}.{}", key, i);
    Reading reading = items[i].kind == Node::Kind::kScalar ? ReadOne(items[i], option)
                                                           : WrongType(ElementType(option.type), items[i], "");
    if (reading.problem.empty()) reading.value = std::vector<T>{std::get<T>(reading.value)};
    const auto checked = Checked(items[i], option, std::move(reading), item_key, mistakes);
    if (checked) list.push_back(std::get<std::vector<T>>(*checked).front());
  }
  if (list.size() != items.size()) return std::nullopt;
  return OptionValue(std::move(list));
}

std::string NothingFound(const OptionSpec& option) {
  std::string wanted = fmt::format("expected {}{}, found nothing.", option.type == OptionType::kBool ? "" : "a ",
                                   OptionTypeName(option.type));
  if (std::holds_alternative<std::monostate>(option.default_value)) return wanted;
  return fmt::format("{} Leave the key out for {}.", wanted, FormatOptionValue(option.default_value));
}

}  // namespace

OptionValue ReadScalar(const Node& scalar) {
  const std::string& text = scalar.text;
  if (scalar.quoted) return text;
  if (IsOneOf(text, {"true", "True", "TRUE"})) return true;
  if (IsOneOf(text, {"false", "False", "FALSE"})) return false;
  if (const auto whole = ReadWhole(text)) return *whole;
  if (LooksLikeNumber(text)) return ReadNumber(text);
  if (IsOneOf(WithoutSign(text), {".inf", ".Inf", ".INF"})) return std::numeric_limits<double>::infinity();
  if (IsOneOf(text, {".nan", ".NaN", ".NAN"})) return std::numeric_limits<double>::quiet_NaN();
  return text;
}

std::optional<OptionValue> ReadValue(const Node& node, const OptionSpec& option, const std::string& key,
                                     Mistakes& mistakes) {
  const bool is_list = option.type == OptionType::kTextList || option.type == OptionType::kIntList ||
                       option.type == OptionType::kRealList;
  if (node.kind == Node::Kind::kNull) {
    if (option.optional) return OptionValue();
    mistakes.Add(node.at, key, NothingFound(option));
    return std::nullopt;
  }
  if (is_list && node.kind != Node::Kind::kMap) {
    const std::vector<Node> items = node.kind == Node::Kind::kList ? node.items : std::vector<Node>{node};
    if (option.type == OptionType::kIntList) return ReadList<int64_t>(items, option, key, mistakes);
    if (option.type == OptionType::kRealList) return ReadList<double>(items, option, key, mistakes);
    return ReadList<std::string>(items, option, key, mistakes);
  }
  if (node.kind != Node::Kind::kScalar) {
    mistakes.Add(node.at, key, WrongType(option.type, node, "").problem);
    return std::nullopt;
  }
  return Checked(node, option, ReadOne(node, option), key, mistakes);
}

}  // namespace espalier
