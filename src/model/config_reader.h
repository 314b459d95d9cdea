#pragma once
// Reads config.json with errors that name the file and the key.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>

#include "espalier/core/error.h"
#include "espalier/core/json.h"

namespace espalier {

// Beyond these a header is hostile; the largest published models stay far below.
constexpr int64_t kMaxWidth = 1 << 20, kMaxBlocks = 4096, kMaxVocabulary = 1 << 24, kMaxHeads = 1 << 14;

class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  // Absent and null are the same to Hugging Face.
  bool Has(const char* key) const {
    const auto found = json_.find(key);
    return found != json_.end() && !found->is_null();
  }
  template <class T>
  std::optional<T> Maybe(const char* key) const {
    if (!Has(key)) return std::nullopt;
    const Json& found = json_.at(key);
    const bool fits = std::is_same_v<T, bool>          ? found.is_boolean()
                      : std::is_same_v<T, std::string> ? found.is_string()
                      : std::is_same_v<T, int64_t>     ? found.is_number_integer()
                                                       : found.is_number();
    if (!fits) throw IoError(fmt::format("{}: {}: found {}, expected another type", where_, key, found.dump()));
    return found.get<T>();
  }
  template <class T>
  T Get(const char* key) const {
    if (auto value = Maybe<T>(key)) return *value;
    throw IoError(fmt::format("{}: {} is missing", where_, key));
  }
  int64_t Positive(const char* key, int64_t largest) const {
    const auto value = Get<int64_t>(key);
    if (value < 1 || value > largest)
      throw IoError(fmt::format("{}: {} is {}, expected 1 to {}", where_, key, value, largest));
    return value;
  }
  bool Flag(const char* key) const { return Maybe<bool>(key).value_or(false); }
  // A feature that the forward pass does not have must not be silently ignored.
  void Refuse(const char* key, const std::string& what) const {
    if (Has(key) && json_.at(key) != false)
      throw IoError(fmt::format("{}: {} is {}: {} is not supported", where_, key, json_.at(key).dump(), what));
  }
  ConfigReader Inside(const char* key) const { return {json_.at(key), where_ + ": " + key}; }
  const Json& json() const { return json_; }
  const std::string& where() const { return where_; }

 private:
  const Json& json_;
  std::string where_;
};

}  // namespace espalier
