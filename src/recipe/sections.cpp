#include "sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace espalier {
namespace {

SectionNode& Place(SectionNode& parent, std::string_view rest) {
  if (rest.empty()) return parent;
  const size_t dot = rest.find('.');
  const std::string name(rest.substr(0, dot));
  auto child = std::find_if(parent.children.begin(), parent.children.end(),
                            [&](const SectionNode& node) { return node.name == name; });
  if (child == parent.children.end()) {
    SectionNode added;
    added.name = name;
    added.path = parent.path.empty() ? name : parent.path + "." + name;
    child = parent.children.insert(parent.children.end(), std::move(added));
  }
  return Place(*child, dot == std::string_view::npos ? "" : rest.substr(dot + 1));
}

// Two meanings for one key would make a recipe ambiguous.
void CheckKeys(const SectionNode& section) {
  std::set<std::string> keys;
  const auto add = [&](const std::string& key) {
    ESPALIER_CHECK(keys.insert(key).second, fmt::format("section '{}' has two meanings for '{}'", section.path, key));
  };
  if (section.path.empty()) add("base");
  if (section.HoldsComponents()) add(section.spec->selector);
  if (section.spec != nullptr)
    for (const OptionSpec& option : section.spec->options) add(option.name);
  for (const SectionNode& child : section.children) add(child.name);
  ESPALIER_CHECK(!section.IsList() || section.children.empty(),
                 fmt::format("the list '{}' cannot have sections in it", section.path));
  for (const SectionNode& child : section.children) CheckKeys(child);
}

const RegistryView& ViewOf(std::string_view kind) {
  for (const RegistryView& view : AllRegistries())
    if (view.kind == kind) return view;
  ESPALIER_CHECK(false, fmt::format("nothing registered itself as a {}", kind));
  return AllRegistries().front();
}

}  // namespace

const SectionNode* SectionNode::Child(std::string_view child) const {
  for (const SectionNode& node : children)
    if (node.name == child) return &node;
  return nullptr;
}

bool SectionNode::AbsentByDefault() const {
  if (spec == nullptr || path.empty()) return false;
  if (spec->form == SectionForm::kComponent) return spec->default_component.empty();
  if (IsList()) return true;
  return spec->optional || std::any_of(spec->options.begin(), spec->options.end(), [](const OptionSpec& option) {
           return !option.Problem(option.default_value).empty();
         });
}

SectionNode BuildSections(const std::vector<SectionSpec>& schema) {
  SectionNode root;
  for (const SectionSpec& spec : schema) {
    SectionNode& node = Place(root, spec.path);
    ESPALIER_CHECK(node.spec == nullptr, fmt::format("two sections '{}'", spec.path));
    node.spec = &spec;
  }
  CheckKeys(root);
  return root;
}

const ComponentInfo* FindComponent(std::string_view kind, std::string_view name) {
  for (const ComponentInfo* info : ViewOf(kind).components())
    if (info->name == name) return info;
  return nullptr;
}

std::vector<std::string> ComponentNames(std::string_view kind) {
  std::vector<std::string> names;
  for (const ComponentInfo* info : ViewOf(kind).components()) names.push_back(info->name);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace espalier
