#include "safetensors_header.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "checked.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr size_t kMaxEntries = size_t{1} << 18;  // DeepSeek-V3 has 92 thousand tensors in all its shards together
constexpr size_t kMaxMetadataEntries = size_t{1} << 16;
constexpr size_t kMaxDimensions = 64;  // what LibTorch's iterators take
constexpr std::string_view kMetadataKey = "__metadata__";

// Receives the events of nlohmann's parser. The grammar is fixed: {"name": {"dtype": s, "shape": [n..], "data_offsets":
// [n, n]}, "__metadata__": {s: s}}, so a place in it is all the state there is.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& where) : where_(where) {}
  SafetensorsHeader Take() { return std::move(header_); }

  bool null() override { Unexpected("null"); }
  bool boolean(bool) override { Unexpected("a boolean"); }
  bool number_integer(number_integer_t value) override { Unexpected(fmt::format("the negative number {}", value)); }
  bool number_float(number_float_t, const string_t& text) override {
    Unexpected(fmt::format("the number {}", Quote(text)));
  }
  bool binary(binary_t&) override { Unexpected("binary data"); }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool start_object(size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t byte, const std::string&, const nlohmann::detail::exception&) override {
    Fail(fmt::format("not valid JSON in UTF-8 at byte {} of the header", byte));
  }

 private:
  enum class Place { kDocument, kTop, kEntry, kEntryField, kNumbers, kMetadata, kEnd };

  [[noreturn]] void Fail(const std::string& text) const { throw IoError(fmt::format("{}: {}", where_, text)); }
  [[noreturn]] void Unexpected(const std::string& found) const;
  std::string Field() const;
  void StartEntry(const std::string& name);
  void StartField(const std::string& name);

  std::string where_;
  SafetensorsHeader header_;
  std::set<std::string> names_;  // a tree: names chosen to collide in a hash table do not slow it down
  Place place_ = Place::kDocument;
  SafetensorsEntry entry_;
  std::string key_;  // of the field or metadata entry being read
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false, in_metadata_ = false;
};

std::string HeaderReader::Field() const {
  if (place_ == Place::kMetadata) return fmt::format("{} key {}", kMetadataKey, Quote(key_));
  if (place_ == Place::kTop)
    return in_metadata_ ? std::string(kMetadataKey) : fmt::format("entry {}", Quote(entry_.name));
  return fmt::format("entry {}: {}", Quote(entry_.name), key_);
}

void HeaderReader::Unexpected(const std::string& found) const {
  if (place_ == Place::kDocument) Fail(fmt::format("the header is {}, expected a JSON object", found));
  const char* expected = "an object";
  if (place_ == Place::kMetadata || (place_ == Place::kEntryField && key_ == "dtype")) expected = "a string";
  if (place_ == Place::kEntryField && key_ != "dtype") expected = "an array of whole numbers";
  if (place_ == Place::kNumbers) expected = "a whole number that is not negative";
  Fail(fmt::format("{}: found {}, expected {}", Field(), found, expected));
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  if (place_ != Place::kNumbers) Unexpected(fmt::format("the number {}", value));
  if (value > static_cast<uint64_t>(kMaxInt64))
    Fail(fmt::format("{}: {} does not fit a signed 64-bit integer", Field(), value));
  std::vector<int64_t>& numbers = key_ == "shape" ? entry_.shape : entry_.data_offsets;
  if (numbers.size() == kMaxDimensions) Fail(fmt::format("{}: more than {} numbers", Field(), kMaxDimensions));
  numbers.push_back(static_cast<int64_t>(value));
  return true;
}

bool HeaderReader::string(string_t& value) {
  if (place_ == Place::kMetadata) {
    header_.metadata[key_] = std::move(value);
    return true;
  }
  if (place_ != Place::kEntryField || key_ != "dtype") Unexpected(fmt::format("the string {}", Quote(value)));
  entry_.dtype = std::move(value);
  place_ = Place::kEntry;
  return true;
}

bool HeaderReader::start_object(size_t) {
  if (place_ == Place::kDocument) {
    place_ = Place::kTop;
  } else if (place_ == Place::kTop) {
    place_ = in_metadata_ ? Place::kMetadata : Place::kEntry;
  } else {
    Unexpected("an object");
  }
  return true;
}

void HeaderReader::StartEntry(const std::string& name) {
  if (!names_.insert(name).second) Fail(fmt::format("duplicate entry {}; one of the two would be lost", Quote(name)));
  in_metadata_ = name == kMetadataKey;
  if (in_metadata_) return;
  if (header_.entries.size() == kMaxEntries) Fail(fmt::format("more than {} entries", kMaxEntries));
  entry_ = {};
  entry_.name = name;
  has_dtype_ = has_shape_ = has_offsets_ = false;
}

void HeaderReader::StartField(const std::string& name) {
  const bool known = name == "dtype" || name == "shape" || name == "data_offsets";
  if (!known)
    Fail(fmt::format("entry {}: unknown key {}, expected dtype, shape, data_offsets", Quote(entry_.name), Quote(name)));
  bool& seen = name == "dtype" ? has_dtype_ : name == "shape" ? has_shape_ : has_offsets_;
  if (seen) Fail(fmt::format("entry {}: duplicate key {}", Quote(entry_.name), name));
  seen = true;
}

bool HeaderReader::key(string_t& name) {
  if (place_ == Place::kTop) {
    StartEntry(name);
    return true;
  }
  if (place_ == Place::kEntry) {
    StartField(name);
    place_ = Place::kEntryField;
  } else if (!header_.metadata.emplace(name, "").second) {
    Fail(fmt::format("{}: duplicate key {}", kMetadataKey, Quote(name)));
  } else if (header_.metadata.size() > kMaxMetadataEntries) {
    Fail(fmt::format("{}: more than {} keys", kMetadataKey, kMaxMetadataEntries));
  }
  key_ = std::move(name);
  return true;
}

bool HeaderReader::end_object() {
  if (place_ == Place::kTop) {
    place_ = Place::kEnd;
    return true;
  }
  if (place_ == Place::kEntry) {
    const char* missing = !has_dtype_ ? "dtype" : !has_shape_ ? "shape" : !has_offsets_ ? "data_offsets" : nullptr;
    if (missing != nullptr) Fail(fmt::format("entry {}: no {}", Quote(entry_.name), missing));
    header_.entries.push_back(std::move(entry_));
    entry_ = {};
  }
  place_ = Place::kTop;
  return true;
}

bool HeaderReader::start_array(size_t) {
  if (place_ != Place::kEntryField || key_ == "dtype") Unexpected("an array");
  place_ = Place::kNumbers;
  return true;
}

bool HeaderReader::end_array() {
  if (key_ == "data_offsets" && entry_.data_offsets.size() != 2)
    Fail(fmt::format("{}: found {} numbers, expected [begin, end]", Field(), entry_.data_offsets.size()));
  place_ = Place::kEntry;
  return true;
}

}  // namespace

SafetensorsHeader ParseSafetensorsHeader(std::string_view text, const std::string& where) {
  // Leading white space is accepted, as the reference does, but not what nlohmann's lexer tolerates beyond JSON: a byte
  // order mark, and a NUL that it takes for the end, behind which anything could hide.
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '{')
    throw IoError(fmt::format("{}: the header does not start with '{{'; is this a safetensors file?", where));
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    throw IoError(fmt::format("{}: not valid JSON in UTF-8 at byte {} of the header", where, nul + 1));
  HeaderReader reader(where);
  nlohmann::json::sax_parse(text, &reader);
  return reader.Take();
}

}  // namespace espalier
