#pragma once
// Recipes laid over each other: shorthands spelled out, a file over its base, overrides over both.
#include <string>
#include <string_view>

#include "sections.h"
#include "yaml_tree.h"

namespace espalier {

// Rewrites every component given by its name alone to the map it stands for, so that layers can be compared key by key.
// What fits no form stays as it is.
void SpellOut(Node& root, const SectionNode& sections);

// Lays `upper` over `lower`: maps key by key, anything else replaces. Where `upper` names another component, the
// options of the old one go. Both must be spelled out.
void Overlay(Node& lower, Node upper, const SectionNode& sections);

// Lays `text`, "key.path=value" with a YAML value, over `root`. A number in the path is an element of a list, or the
// one after the last.
void ApplyOverride(Node& root, const std::string& text, const SectionNode& sections, Mistakes& mistakes);

// `none` where a section may be absent, and no component is called so.
bool MeansNone(const Node& value, const SectionNode& section);

}  // namespace espalier
