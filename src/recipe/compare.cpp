#include "compare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace espalier {
namespace {

constexpr const char* kRules = "protection rule";  // the registry
constexpr const char* kCompare = "compare";

Node TextNode(std::string text, Position at) {
  Node node;
  node.kind = Node::Kind::kScalar;
  node.at = at;
  node.text = std::move(text);
  node.quoted = true;
  return node;
}

Node ListNode(std::vector<Node> items, Position at) {
  Node node;
  node.kind = Node::Kind::kList;
  node.at = at;
  node.items = std::move(items);
  return node;
}

Node VariantNode(const LadderStep& step, Position at) {
  Node node;
  node.kind = Node::Kind::kMap;
  node.at = at;
  node.members = {{"name", at, TextNode(step.name, at)},
                  {"set", at, ListNode({TextNode("protect=" + step.protect, at)}, at)}};
  return node;
}

bool NamesCompare(const Node& entry, const std::string& selector) {
  const Member* rule = entry.Find(selector);
  return rule != nullptr && rule->value.kind == Node::Kind::kScalar && rule->value.text == kCompare;
}

// The map under `sweep`, made where the recipe has none.
Node& SweepOf(Node& root, Position at) {
  Member* sweep = root.Find("sweep");
  if (sweep == nullptr) sweep = &root.members.emplace_back(Member{"sweep", at, {}});
  if (sweep->value.kind == Node::Kind::kNull || sweep->value.kind == Node::Kind::kScalar) {  // `none` loses
    sweep->value.kind = Node::Kind::kMap;
    sweep->value.at = at;
  }
  return sweep->value;
}

}  // namespace

std::vector<LadderStep> ProtectionLadder() {
  std::vector<LadderStep> ladder = {{"none", "none"}};
  std::vector<std::string> rules;
  const auto climb = [&](std::string name, const char* rule) {
    if (FindComponent(kRules, rule) == nullptr) return;
    rules.push_back(fmt::format("{{rule: {}}}", rule));
    ladder.push_back({std::move(name), fmt::format("[{}]", fmt::join(rules, ", "))});
  };
  climb("spike_producers", "spike_producers");
  climb("+super_weights", "super_weights");
  climb("+supernodes", "supernodes");
  for (const char* heads : {"no_op", "broadcast", "all"})
    ladder.push_back({fmt::format("+{}_sinks", heads),
                      fmt::format("[{}, {{rule: sink_heads, heads: {}, written: 0}}]", fmt::join(rules, ", "), heads)});
  return ladder;
}

void ExpandCompare(Node& root, const SectionNode& sections, Mistakes& mistakes) {
  const SectionNode* section = sections.Child("protect");
  const Member* protect = root.Find("protect");
  const bool known = section != nullptr && section->HoldsComponents() && section->spec->registry == kRules &&
                     sections.Child("sweep") != nullptr;
  if (!known || protect == nullptr) return;
  const std::vector<Node>& rules = protect->value.items;
  const Position at = protect->at;
  if (std::none_of(rules.begin(), rules.end(),
                   [&](const Node& entry) { return NamesCompare(entry, section->spec->selector); }))
    return;
  if (rules.size() > 1 || rules.front().members.size() > 1)
    return mistakes.Add(at, "protect", "`compare` stands alone, without options and other rules.");
  Node& sweep = SweepOf(root, at);
  if (sweep.kind == Node::Kind::kMap && sweep.Find("variants") != nullptr)
    return mistakes.Add(at, "protect",
                        "`compare` makes the variants of the sweep; give it or sweep.variants, not both.");
  std::vector<Node> variants;
  for (const LadderStep& step : ProtectionLadder()) variants.push_back(VariantNode(step, at));
  if (sweep.kind == Node::Kind::kMap) sweep.members.push_back({"variants", at, ListNode(std::move(variants), at)});
  std::erase_if(root.members, [](const Member& member) { return member.key == "protect"; });
}

}  // namespace espalier
