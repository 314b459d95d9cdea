#pragma once
// YAML text as a small tree in which every key and value knows where it was written. The only user of yaml-cpp.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mistakes.h"

namespace espalier {

struct Member;

struct Node {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  Position at;  // of a null: of its key
  std::string text;
  bool quoted = false;  // also block scalars: never anything but a text
  std::vector<Node> items;
  std::vector<Member> members;  // in file order, each key once

  const Member* Find(std::string_view key) const;
  Member* Find(std::string_view key);
};

struct Member {
  std::string key;
  Position at;
  Node value;
};

// The one YAML document in `text`, at most 32 levels deep, without anchors, aliases and tags. Empty text is a null.
// Duplicate keys are noted and left out; a text that cannot be read at all is noted and gives nothing.
std::optional<Node> ParseYaml(const std::string& text, int source, Mistakes& mistakes);

// "'abc'", "12", "a list": what a message says was found.
std::string Found(const Node& node);

}  // namespace espalier
