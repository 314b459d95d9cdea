#pragma once
// The schema as the tree that a recipe file follows, and the components that its sections name.
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/registry.h"
#include "espalier/recipe/recipe.h"

namespace espalier {

struct SectionNode {
  std::string path, name;             // "prune.score", "score"; both empty for the top level
  const SectionSpec* spec = nullptr;  // none: only holds its children ("data" of "data.calibration")
  std::vector<SectionNode> children;  // in schema order

  const SectionNode* Child(std::string_view child) const;
  bool Is(SectionForm form) const { return spec != nullptr && spec->form == form; }
  bool IsList() const { return Is(SectionForm::kComponentList) || Is(SectionForm::kMapList); }
  bool HoldsComponents() const { return Is(SectionForm::kComponent) || Is(SectionForm::kComponentList); }
  // Left out of the file, it is absent: there is no default for the whole of it.
  bool AbsentByDefault() const;
};

// `schema` must outlive the result. A schema that contradicts itself is an InternalError.
SectionNode BuildSections(const std::vector<SectionSpec>& schema);

// Of the registry `kind`; nullptr when there is none of that name.
const ComponentInfo* FindComponent(std::string_view kind, std::string_view name);
std::vector<std::string> ComponentNames(std::string_view kind);

}  // namespace espalier
