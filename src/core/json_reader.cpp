#include "espalier/core/json_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr size_t kMaxShown = 60;  // characters of a found value in a message

std::string Found(const Json& json) {
  if (json.is_object()) return "an object";
  if (json.is_array()) return "a list";
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= kMaxShown ? text : text.substr(0, kMaxShown) + "...";
}

// A whole number that fits int64_t; JSON also has unsigned numbers beyond it.
bool IsInt(const Json& json) {
  return json.is_number_integer() &&
         (!json.is_number_unsigned() ||
          json.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
}

std::string IntRange(int64_t min, int64_t max) {
  if (max == std::numeric_limits<int64_t>::max()) return fmt::format("a whole number of at least {}", min);
  return fmt::format("a whole number from {} to {}", min, max);
}

}  // namespace

JsonReader::JsonReader(const Json& json, std::string where) : JsonReader(json, std::move(where), "") {}

JsonReader::JsonReader(const Json& json, std::string where, std::string path)
    : json_(&json), where_(std::move(where)), path_(std::move(path)) {
  if (json.is_object()) return;
  throw IoError(
      fmt::format("{}: {}expected an object, found {}", where_, path_.empty() ? "" : path_ + ": ", Found(json)));
}

std::string JsonReader::PathOf(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void JsonReader::Fail(std::string_view key, std::string_view what) const {
  throw IoError(fmt::format("{}: {}: {}", where_, PathOf(key), what));
}

const Json& JsonReader::Member(std::string_view key, std::string_view expected) const {
  const auto found = json_->find(key);
  if (found == json_->end()) Fail(key, fmt::format("missing; expected {}", expected));
  return *found;
}

void JsonReader::ExpectSchema(std::string_view id) const {
  const std::string found = Text("schema");
  if (found != id) Fail("schema", fmt::format("expected '{}', found '{}'; this version reads no other", id, found));
}

void JsonReader::AllowOnly(std::initializer_list<std::string_view> known) const {
  AllowOnly(std::span(known.begin(), known.size()));
}

void JsonReader::AllowOnly(std::span<const std::string_view> known) const {
  for (const auto& [key, value] : json_->items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    Fail(key, UnknownName("key", key, std::vector<std::string>(known.begin(), known.end())));
  }
}

bool JsonReader::Has(std::string_view key) const {
  return json_->contains(key);
}

std::string JsonReader::Text(std::string_view key) const {
  const Json& value = Member(key, "a text");
  if (!value.is_string()) Fail(key, fmt::format("expected a text, found {}", Found(value)));
  return value.get<std::string>();
}

bool JsonReader::Bool(std::string_view key) const {
  const Json& value = Member(key, "true or false");
  if (!value.is_boolean()) Fail(key, fmt::format("expected true or false, found {}", Found(value)));
  return value.get<bool>();
}

int64_t JsonReader::Int(std::string_view key, int64_t min, int64_t max) const {
  const Json& value = Member(key, IntRange(min, max));
  if (!IsInt(value) || value.get<int64_t>() < min || value.get<int64_t>() > max)
    Fail(key, fmt::format("expected {}, found {}", IntRange(min, max), Found(value)));
  return value.get<int64_t>();
}

double JsonReader::Real(std::string_view key) const {
  const Json& value = Member(key, "a number");
  if (!value.is_number()) Fail(key, fmt::format("expected a number, found {}", Found(value)));
  return value.get<double>();
}

double JsonReader::RealOrNan(std::string_view key) const {
  const Json& value = Member(key, "a number or null");
  if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
  return Real(key);
}

std::optional<double> JsonReader::OptionalReal(std::string_view key) const {
  const auto found = json_->find(key);
  if (found == json_->end() || found->is_null()) return std::nullopt;
  return Real(key);
}

std::vector<int64_t> JsonReader::Ints(std::string_view key, int64_t min, int64_t max) const {
  const Json& list = Member(key, "a list of whole numbers");
  if (!list.is_array()) Fail(key, fmt::format("expected a list of whole numbers, found {}", Found(list)));
  std::vector<int64_t> values;
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& value = list[i];
    if (!IsInt(value) || value.get<int64_t>() < min || value.get<int64_t>() > max)
      Fail(fmt::format("{}[{}]", key, i), fmt::format("expected {}, found {}", IntRange(min, max), Found(value)));
    values.push_back(value.get<int64_t>());
  }
  return values;
}

std::vector<std::string> JsonReader::Texts(std::string_view key) const {
  const Json& list = Member(key, "a list of texts");
  if (!list.is_array()) Fail(key, fmt::format("expected a list of texts, found {}", Found(list)));
  std::vector<std::string> values;
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_string())
      Fail(fmt::format("{}[{}]", key, i), fmt::format("expected a text, found {}", Found(list[i])));
    values.push_back(list[i].get<std::string>());
  }
  return values;
}

std::vector<double> JsonReader::Reals(std::string_view key) const {
  const Json& list = Member(key, "a list of numbers");
  if (!list.is_array()) Fail(key, fmt::format("expected a list of numbers, found {}", Found(list)));
  std::vector<double> values;
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_number() && !list[i].is_null())
      Fail(fmt::format("{}[{}]", key, i), fmt::format("expected a number or null, found {}", Found(list[i])));
    values.push_back(list[i].is_null() ? std::numeric_limits<double>::quiet_NaN() : list[i].get<double>());
  }
  return values;
}

JsonReader JsonReader::Object(std::string_view key) const {
  return JsonReader(Member(key, "an object"), where_, PathOf(key));
}

std::vector<JsonReader> JsonReader::Objects(std::string_view key) const {
  const Json& list = Member(key, "a list of objects");
  if (!list.is_array()) Fail(key, fmt::format("expected a list of objects, found {}", Found(list)));
  std::vector<JsonReader> readers;
  for (size_t i = 0; i < list.size(); ++i)
    readers.push_back(JsonReader(list[i], where_, fmt::format("{}[{}]", PathOf(key), i)));
  return readers;
}

std::vector<std::pair<std::string, std::string>> JsonReader::TextMap(std::string_view key) const {
  const JsonReader object = Object(key);
  std::vector<std::pair<std::string, std::string>> texts;
  for (const auto& [name, value] : object.json_->items()) texts.emplace_back(name, object.Text(name));
  return texts;
}

}  // namespace espalier
