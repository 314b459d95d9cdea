#pragma once
// Registries of components: a scorer, rule, allocator, compensator or evaluator is one .cpp that registers itself.
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/core/options.h"

namespace espalier {

// What every component says about itself, once.
struct ComponentInfo {
  std::string name;                // what recipes write
  std::string doc;                 // one line: what it does
  std::string source;              // paper and arXiv id, "ours", or why there is none
  std::vector<std::string> needs;  // statistics it reads; empty: weights only
  std::vector<OptionSpec> options;
};

// What `espalier list` and `describe` walk: every registry, by the word for its components ("scorer").
struct RegistryView {
  std::string kind;
  std::function<std::vector<const ComponentInfo*>()> components;
};
const std::vector<RegistryView>& AllRegistries();
bool AddRegistryView(RegistryView view);

// The components of one kind. T declares `static constexpr std::string_view kKind`.
template <class T>
class Registry {
 public:
  using Make = std::function<std::unique_ptr<T>(const Options&)>;
  struct Entry {
    ComponentInfo info;
    Make make;
  };

  static bool Register(ComponentInfo info, Make make) {
    static const bool viewed = AddRegistryView({std::string(T::kKind), [] { return Infos(); }});
    std::string name = info.name;
    const bool added = Entries().emplace(std::move(name), Entry{std::move(info), std::move(make)}).second;
    ESPALIER_CHECK(viewed && added, "two components with one name");
    return true;
  }

  // Throws RecipeError with the nearest names when there is none of that name.
  static const Entry& Find(std::string_view name) {
    const auto found = Entries().find(std::string(name));
    if (found == Entries().end()) throw RecipeError(UnknownName(T::kKind, name, Names()));
    return found->second;
  }
  static std::unique_ptr<T> Create(std::string_view name, const Options& options) { return Find(name).make(options); }
  // With every option at its default.
  static std::unique_ptr<T> Create(std::string_view name) { return Create(name, Options(Find(name).info.options)); }

  static std::vector<std::string> Names() {  // sorted
    std::vector<std::string> names;
    for (const auto& [name, entry] : Entries()) names.push_back(name);
    return names;
  }
  static std::vector<const ComponentInfo*> Infos() {
    std::vector<const ComponentInfo*> infos;
    for (const auto& [name, entry] : Entries()) infos.push_back(&entry.info);
    return infos;
  }

 private:
  static std::map<std::string, Entry>& Entries() {
    static std::map<std::string, Entry> entries;
    return entries;
  }
};

}  // namespace espalier
