#include "resolve.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "layers.h"
#include "scalars.h"

namespace espalier {
namespace {

std::string Dotted(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

std::string WithDoc(std::string text, const std::string& doc) {
  return doc.empty() ? text + "." : fmt::format("{}: {}.", text, doc);
}

class Resolver {
 public:
  Resolver(const SectionNode& root, Mistakes& mistakes) : root_(root), mistakes_(mistakes) {}

  ResolvedSections Run(const Node& root) {
    Section(root_, &root, root.at);
    return std::move(resolved_);
  }

 private:
  // A map as its section sees it: `keys` are all that may stand in it.
  struct View {
    const SectionNode& section;
    const Node* map;  // nullptr: nothing given
    Position at;      // of the section's key
    std::string path;
    bool known = true;  // the component is known, so other keys are mistakes
  };

  // `value` as written, nullptr when the file does not have the section; `at` is then the section around it.
  void Section(const SectionNode& section, const Node* value, Position at) {
    if (value == nullptr && section.spec != nullptr && section.spec->required)
      return mistakes_.Add(at, section.path, WithDoc("this section is required", section.spec->doc));
    const bool absent = value == nullptr ? section.AbsentByDefault() : MeansNone(*value, section);
    if (absent) return;
    if (section.IsList()) return List(section, *value);
    if (value != nullptr && value->kind != Node::Kind::kMap && value->kind != Node::Kind::kNull)
      return mistakes_.Add(value->at, section.path, NotAMap(section, *value));
    const Node* map = value != nullptr && value->kind == Node::Kind::kMap ? value : nullptr;
    const View view{section, map, at, section.path};
    if (section.spec != nullptr) {
      auto entry = section.Is(SectionForm::kComponent) ? Component(view) : MapEntry(view);
      if (entry) resolved_[section.path].push_back(std::move(*entry));
    } else {
      CheckKeys(view, {});
    }
    for (const SectionNode& child : section.children) {
      const Member* member = map == nullptr ? nullptr : map->Find(child.name);
      Section(child, member == nullptr ? nullptr : &member->value, member == nullptr ? at : member->at);
    }
  }

  std::string NotAMap(const SectionNode& section, const Node& value) const {
    if (section.HoldsComponents())
      return fmt::format("expected the name of a {0} or a map with '{1}', found {2}. Known: {3}.",
                         section.spec->registry, section.spec->selector, Found(value),
                         fmt::join(ComponentNames(section.spec->registry), ", "));
    return fmt::format("expected a map (key: value), found {}. Keys here: {}.", Found(value),
                       fmt::join(Keys({section, nullptr, value.at, section.path}, SpecOptions(section)), ", "));
  }

  static std::vector<OptionSpec> SpecOptions(const SectionNode& section) {
    return section.spec == nullptr ? std::vector<OptionSpec>{} : section.spec->options;
  }

  void List(const SectionNode& section, const Node& value) {
    std::vector<RecipeEntry>& entries = resolved_[section.path];
    if (value.kind == Node::Kind::kNull) return;
    if (value.kind != Node::Kind::kList)
      return mistakes_.Add(value.at, section.path, "expected a list, found a map. Begin each entry with '- '.");
    if (section.Is(SectionForm::kMapList) && value.items.empty())
      mistakes_.Add(value.at, section.path, "expected at least one entry, found an empty list.");
    for (size_t i = 0; i < value.items.size(); ++i) {
      const Node& item = value.items[i];
      const View view{section, &item, item.at, fmt::format("{}.{}", section.path, i)};
      if (item.kind != Node::Kind::kMap) {
        mistakes_.Add(item.at, view.path, NotAMap(section, item));
      } else if (auto entry = section.HoldsComponents() ? Component(view) : MapEntry(view)) {
        entries.push_back(std::move(*entry));
      }
    }
  }

  std::optional<RecipeEntry> MapEntry(const View& view) { return Filled(view, view.section.spec->options); }

  std::optional<RecipeEntry> Component(View view) {
    const SectionSpec& spec = *view.section.spec;
    const std::optional<std::string> name = ComponentName(view);
    const ComponentInfo* info = name ? FindComponent(spec.registry, *name) : nullptr;
    view.known = info != nullptr;
    std::vector<OptionSpec> options = info == nullptr ? std::vector<OptionSpec>{} : info->options;
    options.insert(options.end(), spec.options.begin(), spec.options.end());
    std::optional<RecipeEntry> entry = Filled(view, std::move(options));
    if (info == nullptr) return std::nullopt;
    if (entry) entry->name = info->name;
    return entry;
  }

  // The name of a component that exists; the mistake is noted otherwise.
  std::optional<std::string> ComponentName(const View& view) {
    const SectionSpec& spec = *view.section.spec;
    const std::vector<std::string> known = ComponentNames(spec.registry);
    const Member* selector = view.map == nullptr ? nullptr : view.map->Find(spec.selector);
    const std::string key = Dotted(view.path, spec.selector);
    if (selector == nullptr) {
      if (!spec.default_component.empty()) return spec.default_component;
      mistakes_.Add(
          view.at, key,
          fmt::format("a value is required: the name of a {}. Known: {}.", spec.registry, fmt::join(known, ", ")));
      return std::nullopt;
    }
    const OptionSpec as_text = TextOption(spec.selector, std::nullopt, "");
    const std::optional<OptionValue> value = ReadValue(selector->value, as_text, key, mistakes_);
    if (!value) return std::nullopt;
    const std::string& name = std::get<std::string>(*value);
    if (std::find(known.begin(), known.end(), name) != known.end()) return name;
    mistakes_.Add(selector->value.at, key, UnknownName(spec.registry, OneLine(name, 40), known));
    return std::nullopt;
  }

  // Every option of `specs`, from the map or its default.
  std::optional<RecipeEntry> Filled(const View& view, std::vector<OptionSpec> specs) {
    bool complete = CheckKeys(view, specs);
    std::map<std::string, OptionValue> values;
    for (const OptionSpec& spec : specs) {
      const Member* member = view.map == nullptr ? nullptr : view.map->Find(spec.name);
      if (member != nullptr) {
        auto value = ReadValue(member->value, spec, Dotted(view.path, spec.name), mistakes_);
        complete = complete && value;
        if (value) values[spec.name] = std::move(*value);
      } else if (!spec.Problem(spec.default_value).empty()) {
        mistakes_.Add(view.at, Dotted(view.path, spec.name), WithDoc("a value is required", spec.doc));
        complete = false;
      }
    }
    if (!complete) return std::nullopt;
    RecipeEntry entry;
    entry.line = view.at.line;
    entry.column = view.at.column;
    entry.where = mistakes_.Where(view.at);
    entry.options = Options(std::move(specs), std::move(values), entry.where);
    return entry;
  }

  static std::vector<std::string> Keys(const View& view, const std::vector<OptionSpec>& options) {
    std::vector<std::string> keys;
    for (const OptionSpec& option : options) keys.push_back(option.name);
    for (const SectionNode& child : view.section.children) keys.push_back(child.name);
    if (view.section.HoldsComponents()) keys.push_back(view.section.spec->selector);
    if (view.path.empty()) keys.push_back("base");
    std::sort(keys.begin(), keys.end());
    return keys;
  }

  bool CheckKeys(const View& view, const std::vector<OptionSpec>& options) {
    if (view.map == nullptr || !view.known) return true;
    const std::vector<std::string> keys = Keys(view, options);
    bool good = true;
    for (const Member& member : view.map->members) {
      if (std::find(keys.begin(), keys.end(), member.key) != keys.end()) continue;
      good = false;
      const std::vector<std::string> nearest = NearestNames(OneLine(member.key), keys);
      std::string text = "unknown key.";
      if (!nearest.empty()) text += fmt::format(" Nearest: {}.", fmt::join(nearest, ", "));
      const std::string home = HomeOf(root_, member.key);
      if (!home.empty()) text += fmt::format(" '{}' is a key of {}.", member.key, home);
      mistakes_.Add(member.at, Dotted(view.path, member.key),
                    fmt::format("{} Keys here: {}.", text, fmt::join(keys, ", ")));
    }
    return good;
  }

  // The first section that does know `key`: it was probably indented wrongly.
  static std::string HomeOf(const SectionNode& section, const std::string& key) {
    if (section.Child(key) != nullptr) return section.path.empty() ? "the top level" : section.path;
    for (const OptionSpec& option : SpecOptions(section))
      if (option.name == key) return section.path.empty() ? "the top level" : section.path;
    for (const SectionNode& child : section.children)
      if (std::string home = HomeOf(child, key); !home.empty()) return home;
    return "";
  }

  const SectionNode& root_;
  Mistakes& mistakes_;
  ResolvedSections resolved_;
};

}  // namespace

ResolvedSections Resolve(const Node& root, const SectionNode& sections, Mistakes& mistakes) {
  return Resolver(sections, mistakes).Run(root);
}

}  // namespace espalier
