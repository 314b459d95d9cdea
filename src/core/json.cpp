#include "espalier/core/json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/files.h"

namespace espalier {
namespace {

constexpr int kMaxDepth = 64;  // deeper documents are hostile: no format we read nests further than 8

// Watches the parse: duplicate keys and depth are errors before the document tree grows.
template <typename AnyJson>
class Watch {
 public:
  explicit Watch(const std::string& where) : where_(where) {}

  bool operator()(int depth, typename AnyJson::parse_event_t event, AnyJson& parsed) {
    if (depth > kMaxDepth) throw IoError(fmt::format("{}: JSON nested deeper than {} levels", where_, kMaxDepth));
    if (event == AnyJson::parse_event_t::object_start) keys_.emplace_back();
    if (event == AnyJson::parse_event_t::object_end) keys_.pop_back();
    if (event == AnyJson::parse_event_t::key && !keys_.back().insert(parsed.template get<std::string>()).second)
      throw IoError(fmt::format("{}: duplicate JSON key '{}'", where_, parsed.template get<std::string>()));
    return true;
  }

 private:
  std::string where_;
  std::vector<std::set<std::string>> keys_;
};

template <typename AnyJson>
AnyJson ParseWatched(std::string_view text, const std::string& where) {
  // The parser takes a zero byte for the end of the text and would not see what follows.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos)
    throw IoError(fmt::format("{}: a zero byte at byte {}; expected a complete UTF-8 JSON document", where, zero));
  Watch<AnyJson> watch(where);
  try {
    return AnyJson::parse(text, [&watch](int depth, typename AnyJson::parse_event_t event, AnyJson& parsed) {
      return watch(depth, event, parsed);
    });
  } catch (const typename AnyJson::parse_error& error) {
    throw IoError(
        fmt::format("{}: not valid JSON at byte {}; expected a complete UTF-8 JSON document", where, error.byte));
  } catch (const typename AnyJson::out_of_range&) {
    throw IoError(fmt::format("{}: a number in it is too large for any format; expected numbers below 1.8e308", where));
  }
}

}  // namespace

Json ParseJson(std::string_view text, const std::string& where) {
  return ParseWatched<Json>(text, where);
}

nlohmann::json ParseSortedJson(std::string_view text, const std::string& where) {
  return ParseWatched<nlohmann::json>(text, where);
}

Json ReadJson(const std::filesystem::path& path, size_t max_bytes) {
  return ParseJson(ReadFile(path, max_bytes), path.string());
}

std::string DumpJson(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void WriteJson(const std::filesystem::path& path, const Json& json) {
  WriteFile(path, DumpJson(json));
}

}  // namespace espalier
