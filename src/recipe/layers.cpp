#include "layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace espalier {
namespace {

bool IsName(const Node& node) {
  return node.kind == Node::Kind::kScalar;
}

Node MapOf(std::string key, Position at, Node value) {
  Node map;
  map.kind = Node::Kind::kMap;
  map.at = at;
  map.members.push_back({std::move(key), at, std::move(value)});
  return map;
}

Node NullAt(Position at) {
  Node node;
  node.at = at;
  return node;
}

Node Text(std::string text, Position at) {
  Node node;
  node.kind = Node::Kind::kScalar;
  node.at = at;
  node.text = std::move(text);
  return node;
}

bool IsOption(const SectionSpec& spec, std::string_view name) {
  return std::any_of(spec.options.begin(), spec.options.end(), [&](const OptionSpec& o) { return o.name == name; });
}

// `name: {options}`, unless the one key is the selector or an option whose selector was forgotten.
bool IsNamedEntry(const Node& entry, const SectionSpec& spec) {
  if (entry.kind != Node::Kind::kMap || entry.members.size() != 1) return false;
  const Member& member = entry.members.front();
  const bool holds_options = member.value.kind == Node::Kind::kMap || member.value.kind == Node::Kind::kNull;
  return holds_options && member.key != spec.selector && !IsOption(spec, member.key) &&
         member.value.Find(spec.selector) == nullptr;
}

void SpellOutEntry(Node& entry, const SectionSpec& spec) {
  if (IsName(entry)) {
    entry = MapOf(spec.selector, entry.at, entry);
  } else if (spec.form == SectionForm::kComponentList && IsNamedEntry(entry, spec)) {
    Member named = std::move(entry.members.front());
    Node map = MapOf(spec.selector, named.at, Text(named.key, named.at));
    std::move(named.value.members.begin(), named.value.members.end(), std::back_inserter(map.members));
    entry = std::move(map);
  }
}

void SpellOutList(Node& list, const SectionSpec& spec) {
  if (IsName(list)) {
    Node one;
    one.kind = Node::Kind::kList;
    one.at = list.at;
    one.items.push_back(std::move(list));
    list = std::move(one);
  }
  if (list.kind != Node::Kind::kList) return;
  for (Node& entry : list.items) SpellOutEntry(entry, spec);
}

// The component that `map` names, the section's default when it names none.
std::string ComponentOf(const Node& map, const SectionSpec& spec) {
  const Member* selector = map.Find(spec.selector);
  return selector == nullptr ? spec.default_component : selector->value.text;
}

// What belongs to the old component goes; options common to all of them and sections stay.
void DropOwnOptions(Node& map, const SectionNode& section) {
  std::erase_if(map.members, [&](const Member& member) {
    return !IsOption(*section.spec, member.key) && section.Child(member.key) == nullptr;
  });
}

void OverlayNode(Node& lower, Node upper, const SectionNode* section) {
  if (lower.kind != Node::Kind::kMap || upper.kind != Node::Kind::kMap) {
    lower = std::move(upper);
    return;
  }
  if (section != nullptr && section->HoldsComponents() && upper.Find(section->spec->selector) != nullptr &&
      ComponentOf(upper, *section->spec) != ComponentOf(lower, *section->spec))
    DropOwnOptions(lower, *section);
  for (Member& member : upper.members) {
    Member* below = lower.Find(member.key);
    if (below == nullptr) {
      lower.members.push_back(std::move(member));
    } else {
      below->at = member.at;
      OverlayNode(below->value, std::move(member.value), section == nullptr ? nullptr : section->Child(member.key));
    }
  }
}

void SpellOutSection(Node& node, const SectionNode& section) {
  if (MeansNone(node, section)) return;
  if (section.Is(SectionForm::kComponent)) SpellOutEntry(node, *section.spec);
  if (section.Is(SectionForm::kComponentList)) SpellOutList(node, *section.spec);
  if (node.kind != Node::Kind::kMap) return;
  for (Member& member : node.members)
    if (const SectionNode* child = section.Child(member.key)) SpellOutSection(member.value, *child);
}

bool IsIndex(const std::string& part) {
  return part.size() <= 6 && part.find_first_not_of("0123456789") == std::string::npos;
}

// One override on its way down the tree.
class Override {
 public:
  Override(std::string_view dotted, Position at, Mistakes& mistakes) : dotted_(dotted), at_(at), mistakes_(mistakes) {}

  // `parts` lead from `node` to what `value` replaces. `section` is that of `node`, if it is one.
  void Put(Node& node, const SectionNode* section, std::span<const std::string> parts, Node value) const {
    const bool into_list = node.kind == Node::Kind::kList || (node.kind == Node::Kind::kNull && IsIndex(parts[0]));
    if (into_list) return PutInList(node, section, parts, std::move(value));
    const SectionNode* child = section == nullptr ? nullptr : section->Child(parts[0]);
    if (node.kind != Node::Kind::kMap) node = MapOf(parts[0], at_, NullAt(at_));
    if (parts.size() == 1) {
      if (child != nullptr) SpellOutSection(value, *child);
      return OverlayNode(node, MapOf(parts[0], at_, std::move(value)), section);
    }
    Member* member = node.Find(parts[0]);
    if (member == nullptr) member = &node.members.emplace_back(Member{parts[0], at_, NullAt(at_)});
    Put(member->value, child, parts.subspan(1), std::move(value));
  }

 private:
  void PutInList(Node& list, const SectionNode* section, std::span<const std::string> parts, Node value) const {
    list.kind = Node::Kind::kList;
    const size_t size = list.items.size();
    if (!IsIndex(parts[0]) || std::stoul(parts[0]) > size) {
      return mistakes_.Add(at_, dotted_,
                           fmt::format("expected the number of an entry, 0 to {} ({} adds one), found '{}'.", size,
                                       size, OneLine(parts[0], 40)));
    }
    const size_t index = std::stoul(parts[0]);
    if (index == size) list.items.push_back(NullAt(at_));
    Node& item = list.items[index];
    if (parts.size() > 1) return Put(item, section, parts.subspan(1), std::move(value));
    if (section != nullptr && section->Is(SectionForm::kComponentList)) SpellOutEntry(value, *section->spec);
    OverlayNode(item, std::move(value), section);
  }

  std::string_view dotted_;
  Position at_;
  Mistakes& mistakes_;
};

std::vector<std::string> SplitAtDots(std::string_view dotted) {
  std::vector<std::string> parts(1);
  for (const char c : dotted) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace

bool MeansNone(const Node& value, const SectionNode& section) {
  if (!IsName(value) || value.quoted || value.text != "none") return false;
  if (!section.AbsentByDefault() || section.spec->required) return false;
  return !section.HoldsComponents() || FindComponent(section.spec->registry, "none") == nullptr;
}

void SpellOut(Node& root, const SectionNode& sections) {
  SpellOutSection(root, sections);
}

void Overlay(Node& lower, Node upper, const SectionNode& sections) {
  OverlayNode(lower, std::move(upper), &sections);
}

void ApplyOverride(Node& root, const std::string& text, const SectionNode& sections, Mistakes& mistakes) {
  const Position at{mistakes.AddOverride(text), 0, 0};
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return mistakes.Add(at, "", "expected key.path=value; the '=' is missing");
  const std::vector<std::string> parts = SplitAtDots(std::string_view(text).substr(0, equals));
  if (std::find(parts.begin(), parts.end(), "") != parts.end())
    return mistakes.Add(at, "", "expected key.path=value; a key is empty");
  if (parts[0] == "base") return mistakes.Add(at, "", "a base is named in the recipe file only");
  std::optional<Node> value = ParseYaml(text.substr(equals + 1), at.source, mistakes);
  if (!value) return;
  Override(std::string_view(text).substr(0, equals), at, mistakes).Put(root, &sections, parts, std::move(*value));
}

}  // namespace espalier
