#pragma once
// The tree of a recipe against its schema: every section with every option, or the mistakes.
#include <map>
#include <string>
#include <vector>

#include "sections.h"
#include "yaml_tree.h"

namespace espalier {

using ResolvedSections = std::map<std::string, std::vector<RecipeEntry>, std::less<>>;

// `root` must be spelled out. A section that is absent has no entry; a map or component has one. Where there were
// mistakes the result is incomplete.
ResolvedSections Resolve(const Node& root, const SectionNode& sections, Mistakes& mistakes);

}  // namespace espalier
