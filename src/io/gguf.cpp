#include "espalier/io/gguf.h"

#include <fmt/format.h>

#include "checked.h"
#include "espalier/core/error.h"
#include "gguf_header.h"

namespace espalier {
namespace {

// In the order of GgufValue's alternatives.
const char* KindName(const GgufValue& value) {
  static constexpr const char* kNames[] = {"a boolean",
                                           "an integer",
                                           "an unsigned integer",
                                           "a real number",
                                           "a string",
                                           "an array of booleans",
                                           "an array of integers",
                                           "an array of unsigned integers",
                                           "an array of real numbers",
                                           "an array of strings"};
  static_assert(std::size(kNames) == std::variant_size_v<GgufValue>);
  return kNames[value.index()];
}

[[noreturn]] void FailKind(const GgufFile& file, std::string_view key, const GgufValue& value, const char* expected) {
  throw IoError(
      fmt::format("{}: key {} is {}, expected {}", file.path().string(), Quote(key), KindName(value), expected));
}

const GgufValue& Value(const GgufFile& file, std::string_view key) {
  const auto found = file.metadata().find(key);
  if (found != file.metadata().end()) return found->second;
  std::vector<std::string> keys;
  for (const auto& [name, value] : file.metadata()) keys.push_back(name);
  std::string nearest;
  for (const std::string& name : NearestNames(key, keys))
    nearest += (nearest.empty() ? "; nearest: " : ", ") + Quote(name);
  throw IoError(fmt::format("{}: no key {} in the metadata{}", file.path().string(), Quote(key), nearest));
}

template <class T>
const T& Get(const GgufFile& file, std::string_view key, const char* expected) {
  const GgufValue& value = Value(file, key);
  if (const T* typed = std::get_if<T>(&value)) return *typed;
  FailKind(file, key, value, expected);
}

int64_t Signed(const GgufFile& file, std::string_view key, uint64_t value) {
  if (value <= static_cast<uint64_t>(kMaxInt64)) return static_cast<int64_t>(value);
  throw IoError(
      fmt::format("{}: key {} is {}, expected at most {}", file.path().string(), Quote(key), value, kMaxInt64));
}

}  // namespace

GgufFile::GgufFile(std::filesystem::path path) : file_(std::move(path)) {
  GgufHeader header = ReadGgufHeader(file_);
  tensors_ = std::move(header.tensors);
  metadata_ = std::move(header.metadata);
  places_ = std::move(header.places);
  for (size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

const GgufTensor* GgufFile::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

void GgufFile::Read(const GgufTensor& tensor, std::span<std::byte> out) const {
  ESPALIER_CHECK(out.size() == tensor.bytes, "the buffer has the size of the tensor");
  file_.Read(tensor.offset, out);
}

bool GgufFile::Has(std::string_view key) const {
  return metadata_.find(key) != metadata_.end();
}

std::vector<std::byte> GgufFile::RawValue(std::string_view key) const {
  Value(*this, key);  // says what is there when this key is not
  const GgufPlace& place = places_.find(key)->second;
  std::vector<std::byte> bytes(place.bytes);
  file_.Read(place.offset, bytes);
  return bytes;
}

int64_t GgufFile::Int(std::string_view key) const {
  const GgufValue& value = Value(*this, key);
  if (const auto* integer = std::get_if<int64_t>(&value)) return *integer;
  if (const auto* integer = std::get_if<uint64_t>(&value)) return Signed(*this, key, *integer);
  FailKind(*this, key, value, "an integer");
}

double GgufFile::Real(std::string_view key) const {
  const GgufValue& value = Value(*this, key);
  if (const auto* real = std::get_if<double>(&value)) return *real;
  if (std::holds_alternative<int64_t>(value) || std::holds_alternative<uint64_t>(value))
    return static_cast<double>(Int(key));
  FailKind(*this, key, value, "a real number");
}

bool GgufFile::Bool(std::string_view key) const {
  return Get<bool>(*this, key, "a boolean");
}

const std::string& GgufFile::Text(std::string_view key) const {
  return Get<std::string>(*this, key, "a string");
}

const std::vector<std::string>& GgufFile::TextList(std::string_view key) const {
  return Get<std::vector<std::string>>(*this, key, "an array of strings");
}

const std::vector<double>& GgufFile::RealList(std::string_view key) const {
  return Get<std::vector<double>>(*this, key, "an array of real numbers");
}

std::vector<int64_t> GgufFile::IntList(std::string_view key) const {
  const GgufValue& value = Value(*this, key);
  if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) return *list;
  if (const auto* list = std::get_if<std::vector<uint64_t>>(&value)) {
    std::vector<int64_t> numbers;
    for (const uint64_t number : *list) numbers.push_back(Signed(*this, key, number));
    return numbers;
  }
  if (std::holds_alternative<int64_t>(value) || std::holds_alternative<uint64_t>(value)) return {Int(key)};
  FailKind(*this, key, value, "an array of integers");
}

}  // namespace espalier
