#pragma once
// Merges as they are written, turned into ids.
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "espalier/io/tokenizer_spec.h"

namespace espalier {

class MergeReader {
 public:
  // `where`: file and key, for messages. Keeps a reference to the spec, whose tokens must not change any more.
  MergeReader(TokenizerSpec& spec, std::string where);

  void Add(std::string_view left, std::string_view right);
  void AddLine(std::string_view line);  // "left right", with exactly one space: the byte alphabet has none

 private:
  int32_t IdOf(std::string_view token, std::string_view line) const;

  TokenizerSpec& spec_;
  std::string where_;
  std::unordered_map<std::string_view, int32_t> ids_;
  std::unordered_set<uint64_t> seen_;
};

}  // namespace espalier
