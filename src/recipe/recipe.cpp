#include "espalier/recipe/recipe.h"

#include <fmt/format.h>

#include <optional>

#include "compare.h"
#include "emit.h"
#include "espalier/core/files.h"
#include "layers.h"
#include "resolve.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestRecipe = size_t{1} << 20;

// A map, empty for an empty file; nothing, and a mistake noted, for anything else.
std::optional<Node> ReadTree(const fs::path& path, int source, const SectionNode& sections, Mistakes& mistakes) {
  std::optional<Node> root = ParseYaml(ReadFile(path, kLargestRecipe), source, mistakes);
  if (!root) return std::nullopt;
  if (root->kind == Node::Kind::kNull) root->kind = Node::Kind::kMap;
  if (root->kind != Node::Kind::kMap) {
    mistakes.Add(root->at, "", fmt::format("a recipe is a map of sections (key: value), found {}.", Found(*root)));
    return std::nullopt;
  }
  SpellOut(*root, sections);
  return root;
}

std::optional<Member> TakeBase(Node& root) {
  const Member* member = root.Find("base");
  if (member == nullptr) return std::nullopt;
  Member base = *member;
  std::erase_if(root.members, [](const Member& other) { return other.key == "base"; });
  return base;
}

// The recipe that `base` names, beside the file at `path`.
std::optional<Node> ReadBase(const Member& base, const fs::path& path, const SectionNode& sections,
                             Mistakes& mistakes) {
  if (base.value.kind != Node::Kind::kScalar) {
    mistakes.Add(base.value.at, "base", fmt::format("expected the path of a recipe, found {}.", Found(base.value)));
    return std::nullopt;
  }
  const fs::path base_path = path.parent_path() / base.value.text;
  std::optional<Node> root;
  try {
    root = ReadTree(base_path, mistakes.AddFile(base_path.string()), sections, mistakes);
  } catch (const IoError& error) {
    mistakes.Add(base.value.at, "base", error.what());
  }
  if (!root) return std::nullopt;
  if (const auto second = TakeBase(*root))
    mistakes.Add(second->at, "base", "a base cannot have a base itself; name one recipe that has it all.");
  return root;
}

Node ReadLayers(const fs::path& path, const std::vector<std::string>& overrides, const SectionNode& sections,
                Mistakes& mistakes) {
  std::optional<Node> root = ReadTree(path, mistakes.AddFile(path.string()), sections, mistakes);
  // Without the file's own tree every further mistake would only follow from the first.
  if (!root) mistakes.ThrowIfAny();
  if (const auto base = TakeBase(*root)) {
    if (auto lower = ReadBase(*base, path, sections, mistakes)) {
      Overlay(*lower, std::move(*root), sections);
      root = std::move(lower);
    }
  }
  for (const std::string& text : overrides) ApplyOverride(*root, text, sections, mistakes);
  ExpandCompare(*root, sections, mistakes);
  return std::move(*root);
}

}  // namespace

Recipe Recipe::Read(const fs::path& path, const std::vector<std::string>& overrides,
                    const std::vector<SectionSpec>& schema) {
  Recipe recipe;
  recipe.path_ = path;
  recipe.overrides_ = overrides;
  recipe.schema_ = schema;
  const SectionNode sections = BuildSections(recipe.schema_);
  Mistakes mistakes;
  const Node root = ReadLayers(path, overrides, sections, mistakes);
  recipe.sections_ = Resolve(root, sections, mistakes);
  mistakes.ThrowIfAny();
  return recipe;
}

Recipe Recipe::With(const std::vector<std::string>& more) const {
  std::vector<std::string> overrides = overrides_;
  overrides.insert(overrides.end(), more.begin(), more.end());
  return Read(path_, overrides, schema_);
}

bool Recipe::Has(std::string_view section) const {
  const auto found = sections_.find(section);
  return found != sections_.end() && !found->second.empty();
}

const RecipeEntry& Recipe::Entry(std::string_view section) const {
  ESPALIER_CHECK(Has(section), fmt::format("section '{}' is absent; ask Has first", section));
  return sections_.find(section)->second.front();
}

const std::vector<RecipeEntry>& Recipe::List(std::string_view section) const {
  static const std::vector<RecipeEntry> kNone;
  const auto found = sections_.find(section);
  return found == sections_.end() ? kNone : found->second;
}

std::string Recipe::Where(const RecipeEntry& entry) const {
  return entry.where.empty() ? path_.string() : entry.where;
}

std::string Recipe::ToYaml() const {
  return Emit(sections_, BuildSections(schema_));
}

}  // namespace espalier
