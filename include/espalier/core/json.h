#pragma once
// The JSON type of the project, declared only: include <nlohmann/json.hpp> in the .cpp that looks inside.
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace espalier {

// Keys keep the order in which they were written, so that files diff well.
using Json = nlohmann::ordered_json;

// Parses a UTF-8 JSON document of at most `max_bytes`. Refuses duplicate keys and nesting deeper than 64.
// Throws IoError naming `where` and the byte offset.
Json ParseJson(std::string_view text, const std::string& where);
Json ReadJson(const std::filesystem::path& path, size_t max_bytes = size_t{256} << 20);

// The same for documents whose objects have very many keys (a vocabulary): Json looks keys up one after the other.
nlohmann::json ParseSortedJson(std::string_view text, const std::string& where);

// Two-space indentation, shortest exact floating point, non-finite numbers as null, one trailing newline.
std::string DumpJson(const Json& json);
void WriteJson(const std::filesystem::path& path, const Json& json);

}  // namespace espalier
