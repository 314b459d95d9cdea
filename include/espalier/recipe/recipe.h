#pragma once
// A recipe: strict YAML, resolved so that every default is written out. Unknown and duplicate keys, wrong types and
// values out of range are errors, gathered over the whole file, each with file:line:col and the nearest valid name.
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "espalier/core/options.h"

namespace espalier {

// How one section of a recipe is written.
enum class SectionForm {
  kMap,            // key: {option: value, ...}
  kComponent,      // key: {method: name, <options of that component>} or just the name
  kComponentList,  // key: [name, {<selector>: name, <options>}, ...]; also `name: {options}` entries
  kMapList,        // key: [{option: value, ...}, ...], at least one when it is given
};

struct SectionSpec {
  std::string path;  // "prune.score"; "" is the top level's own scalars (name, seed, threads, device)
  SectionForm form = SectionForm::kMap;
  std::string doc;
  std::vector<OptionSpec> options;  // kMap: its options. Components: options that every entry takes besides its own
  std::string selector;           // components: the key that names the component ("method", "suite", "rule", "metric")
  std::string registry;           // components: kind in AllRegistries() ("scorer")
  bool required = false;          // the section must be in the file (else its defaults, or an empty list, are used)
  std::string default_component;  // kComponent when not given; empty: the section is then absent
  // kMap: absent when not given, although it has defaults. A map with an option that has none is so without saying.
  bool optional = false;
};

// A chosen component, or the options of a map section.
struct RecipeEntry {
  std::string name;          // component; empty for a map section
  Options options;           // component's own and common options
  int line = 0, column = 0;  // 0: from an override
  std::string where;         // "recipes/x.yaml:12:3", "override heal.rank=4"; of a default: of what is around it
};

class Recipe {
 public:
  // Sections of the file at `path`, then `overrides` ("prune.budget.remove=0.3", "evaluate.0.windows=4") laid over it.
  // A file with `base: other.yaml` (a path from the file's folder) is laid over that file first. In each layer what is
  // named replaces what was there; naming another component also drops the options of the old one, and `none` drops an
  // optional section. Throws RecipeError whose text holds one line for each mistake; IoError when the file cannot be
  // read.
  static Recipe Read(const std::filesystem::path& path, const std::vector<std::string>& overrides,
                     const std::vector<SectionSpec>& schema);

  // The same file with the same overrides and `more` laid over them.
  Recipe With(const std::vector<std::string>& more) const;

  const std::filesystem::path& path() const { return path_; }
  // False for an optional section that is not there, and for an empty list.
  bool Has(std::string_view section) const;
  const RecipeEntry& Entry(std::string_view section) const;              // kMap, kComponent; InternalError when absent
  const std::vector<RecipeEntry>& List(std::string_view section) const;  // the two lists
  // "recipes/x.yaml:12:3", for errors that show up after parsing.
  std::string Where(const RecipeEntry& entry) const;
  // Every default written out, sections in schema order; reading it again gives an equal recipe.
  std::string ToYaml() const;

 private:
  std::filesystem::path path_;
  std::vector<std::string> overrides_;
  std::vector<SectionSpec> schema_;
  std::map<std::string, std::vector<RecipeEntry>, std::less<>> sections_;
};

}  // namespace espalier
