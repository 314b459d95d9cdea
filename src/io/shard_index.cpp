#include "shard_index.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "checked.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr size_t kMaxEntries = size_t{1} << 20;  // tensors of a model; DeepSeek-V3 has 92 thousand
constexpr int kMaxDepth = 8;                     // real files nest two levels
constexpr std::string_view kSuffix = ".safetensors";

bool IsPlainShardName(std::string_view name) {
  return name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos && name.ends_with(kSuffix) &&
         name.size() > kSuffix.size() && name.front() != '.';
}

// Keeps weight_map and walks over everything else ("metadata", keys of future writers).
class IndexReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit IndexReader(const std::string& where) : where_(where) {}
  std::map<std::string, std::string> Take() {
    if (!keys_.contains("weight_map")) Fail("no 'weight_map'");
    return std::move(map_);
  }

  bool null() override { return Skip("null"); }
  bool boolean(bool) override { return Skip("a boolean"); }
  bool number_integer(number_integer_t) override { return Skip("a number"); }
  bool number_unsigned(number_unsigned_t) override { return Skip("a number"); }
  bool number_float(number_float_t, const string_t&) override { return Skip("a number"); }
  bool binary(binary_t&) override { return Skip("binary data"); }
  bool start_array(size_t) override { return Enter("an array", false); }
  bool start_object(size_t) override { return Enter("an object", true); }
  bool end_array() override { return Leave(); }
  bool end_object() override { return Leave(); }
  bool key(string_t& name) override;
  bool string(string_t& value) override;
  bool parse_error(size_t byte, const std::string&, const nlohmann::detail::exception&) override {
    Fail(fmt::format("not valid JSON in UTF-8 at byte {}", byte));
  }

 private:
  [[noreturn]] void Fail(const std::string& text) const { throw IoError(fmt::format("{}: {}", where_, text)); }
  bool InMap() const { return depth_ == 2 && key_ == "weight_map"; }
  bool Skip(const char* found) const;
  bool Enter(const char* found, bool is_object);
  bool Leave() {
    --depth_;
    return true;
  }

  std::string where_;
  int depth_ = 0;
  std::string key_, tensor_;  // of the document; of weight_map
  std::set<std::string> keys_;
  std::map<std::string, std::string> map_;
};

bool IndexReader::Skip(const char* found) const {
  if (depth_ == 0) Fail(fmt::format("found {}, expected a JSON object", found));
  if (depth_ == 1 && key_ == "weight_map") Fail(fmt::format("weight_map is {}, expected an object", found));
  if (InMap()) Fail(fmt::format("tensor {}: found {}, expected the name of a file", Quote(tensor_), found));
  return true;
}

bool IndexReader::Enter(const char* found, bool is_object) {
  const bool wanted = is_object && (depth_ == 0 || (depth_ == 1 && key_ == "weight_map"));
  if (!wanted) Skip(found);
  if (++depth_ > kMaxDepth) Fail(fmt::format("nested deeper than {} levels", kMaxDepth));
  return true;
}

bool IndexReader::key(string_t& name) {
  if (depth_ == 1) {
    if (keys_.size() == kMaxEntries) Fail(fmt::format("more than {} keys", kMaxEntries));
    if (!keys_.insert(name).second) Fail(fmt::format("duplicate key {}", Quote(name)));
    key_ = std::move(name);
  } else if (InMap()) {
    if (map_.size() == kMaxEntries) Fail(fmt::format("weight_map has more than {} entries", kMaxEntries));
    if (!map_.emplace(name, "").second) Fail(fmt::format("weight_map names tensor {} twice", Quote(name)));
    tensor_ = std::move(name);
  }
  return true;
}

bool IndexReader::string(string_t& value) {
  if (!InMap()) return Skip("a string");
  if (!IsPlainShardName(value))
    Fail(fmt::format("tensor {}: file {}, expected the plain name of a .safetensors file in this folder",
                     Quote(tensor_), Quote(value)));
  map_[tensor_] = std::move(value);
  return true;
}

}  // namespace

std::map<std::string, std::string> ParseShardIndex(std::string_view text, const std::string& where) {
  // nlohmann's lexer takes a NUL for the end of the text.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    throw IoError(fmt::format("{}: not valid JSON in UTF-8 at byte {}", where, nul + 1));
  IndexReader reader(where);
  nlohmann::json::sax_parse(text, &reader);
  return reader.Take();
}

}  // namespace espalier
