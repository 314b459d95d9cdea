#pragma once
// One list of fields a struct, read and written from it: a struct S with
//   template <class Visitor> void Fields(Visitor& visit, S& s) { visit("name", s.name); ... }
// found by argument-dependent lookup becomes an object with exactly these keys. Fields may be whole numbers (not
// negative), doubles (null reads as NaN), bools, texts, lists of these, enumerations with EnumNames, such structs,
// lists of them and optional ones (absent when there is none).
#include <algorithm>
#include <concepts>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/core/json_reader.h"

namespace espalier {

// Specialise: the text of every value, in order from 0.
template <class E>
std::span<const char* const> EnumNames();

template <class S>
Json FieldsToJson(const S& value);
template <class S>
S FieldsFromJson(const JsonReader& reader);

namespace fields {

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
concept Plain = std::is_arithmetic_v<T> || std::same_as<T, std::string>;

struct Writer {
  Json& json;

  template <class T>
  void operator()(const char* key, T& value) {
    if constexpr (IsOptional<T>::value) {
      if (value) json[key] = FieldsToJson(*value);
    } else {
      json[key] = Value(value);
    }
  }
  template <class T>
  static Json Value(const T& value) {
    if constexpr (std::is_enum_v<T>) {
      return EnumNames<T>()[static_cast<size_t>(value)];
    } else if constexpr (Plain<T>) {
      return value;
    } else if constexpr (IsVector<T>::value) {
      Json list = Json::array();
      for (const auto& element : value) list.push_back(Value(element));
      return list;
    } else {
      return FieldsToJson(value);
    }
  }
};

struct Reader {
  const JsonReader& reader;
  std::vector<std::string_view> known;

  template <class T>
  void operator()(const char* key, T& value) {
    known.push_back(key);
    if constexpr (IsOptional<T>::value) {
      if (reader.Has(key)) value = FieldsFromJson<typename T::value_type>(reader.Object(key));
    } else if constexpr (std::is_enum_v<T>) {
      value = Enum<T>(key);
    } else if constexpr (std::same_as<T, bool>) {
      value = reader.Bool(key);
    } else if constexpr (std::integral<T>) {
      value = reader.Int(key);
    } else if constexpr (std::floating_point<T>) {
      value = reader.RealOrNan(key);
    } else if constexpr (std::same_as<T, std::string>) {
      value = reader.Text(key);
    } else if constexpr (std::same_as<T, std::vector<int64_t>>) {
      value = reader.Ints(key);
    } else if constexpr (std::same_as<T, std::vector<double>>) {
      value = reader.Reals(key);
    } else if constexpr (std::same_as<T, std::vector<std::string>>) {
      value = reader.Texts(key);
    } else if constexpr (IsVector<T>::value) {
      for (const JsonReader& element : reader.Objects(key))
        value.push_back(FieldsFromJson<typename T::value_type>(element));
    } else {
      value = FieldsFromJson<T>(reader.Object(key));
    }
  }
  template <class E>
  E Enum(const char* key) {
    const std::string name = reader.Text(key);
    const std::span<const char* const> names = EnumNames<E>();
    for (size_t i = 0; i < names.size(); ++i)
      if (name == names[i]) return static_cast<E>(i);
    reader.Fail(key, UnknownName(key, name, std::vector<std::string>(names.begin(), names.end())));
  }
};

}  // namespace fields

template <class S>
Json FieldsToJson(const S& value) {
  Json json = Json::object();
  fields::Writer writer{json};
  Fields(writer, const_cast<S&>(value));
  return json;
}

// IoError naming the place: a key that is missing, of the wrong kind, or unknown.
template <class S>
S FieldsFromJson(const JsonReader& reader) {
  S value;
  fields::Reader visitor{reader, {}};
  Fields(visitor, value);
  reader.AllowOnly(visitor.known);
  return value;
}

}  // namespace espalier
