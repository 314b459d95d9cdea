#pragma once
// The JSON header of a safetensors file as a flat list: parsed as a stream, so that a hostile header never becomes a
// tree.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

// One entry as it was written; every number is a non-negative integer below 2^63, nothing else has been checked.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<int64_t> data_offsets;  // always two
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

// Throws IoError naming `where` and the entry or byte: invalid UTF-8 or JSON, duplicate or missing or unknown keys,
// values of another kind, more entries, dimensions or nesting than any real file has.
SafetensorsHeader ParseSafetensorsHeader(std::string_view text, const std::string& where);

}  // namespace espalier
