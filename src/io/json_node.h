#pragma once
// Reading tokenizer.json.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "espalier/core/error.h"
#include "espalier/io/tokenizer_spec.h"

namespace espalier {

// A value of the file with the way to it, so that every message can name file and key.
class JsonNode {
 public:
  JsonNode(const nlohmann::json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& where() const { return where_; }
  bool IsNull() const { return value_->is_null(); }

  [[noreturn]] void Fail(const std::string& expected) const {
    const std::string text = value_->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    throw IoError(fmt::format("{}: found {}, expected {}", where_, text.size() > 60 ? text.substr(0, 57) + "..." : text,
                              expected));
  }

  // null when the key is absent.
  JsonNode At(const std::string& key) const {
    static const nlohmann::json null;
    if (!value_->is_object()) Fail("an object");
    const auto found = value_->find(key);
    const bool top = where_.ends_with(": ");
    return JsonNode(found == value_->end() ? null : *found, where_ + (top ? "" : ".") + key);
  }
  JsonNode At(size_t index) const { return JsonNode(value_->at(index), fmt::format("{}[{}]", where_, index)); }
  size_t ListSize() const {
    if (!value_->is_array()) Fail("a list");
    return value_->size();
  }

  const std::string& Text() const {
    if (!value_->is_string()) Fail("a string");
    return value_->get_ref<const std::string&>();
  }
  bool Flag(bool absent) const {
    if (IsNull()) return absent;
    if (!value_->is_boolean()) Fail("true or false");
    return value_->get<bool>();
  }
  int32_t Id(const char* name = "an id") const {
    if (!value_->is_number_integer() || *value_ < 0 || *value_ >= static_cast<int64_t>(kMaxTokens))
      Fail(fmt::format("{} from 0 to {}", name, kMaxTokens - 1));
    return value_->get<int32_t>();
  }
  std::string Type() const { return At("type").Text(); }

 private:
  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace espalier
