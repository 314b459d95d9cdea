#pragma once
// The mistakes of one recipe, gathered over the file, its base and the overrides, and thrown together.
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

// Where something was written. Line and column count from 1, in bytes; an override has neither.
struct Position {
  int source = 0;  // what Mistakes::AddFile or AddOverride returned
  int line = 0, column = 0;
};

class Mistakes {
 public:
  // Sources in the order in which their mistakes are shown.
  int AddFile(std::string path);
  int AddOverride(const std::string& text);  // "prune.budget.remove=0.3"

  // `key` is dotted; empty for mistakes of the file as a whole. `message` may quote what was found, cleaned or not.
  void Add(Position at, std::string_view key, std::string_view message);

  // RecipeError with one line for each mistake, sorted by place, and "N errors; nothing was run."
  void ThrowIfAny() const;

  // "recipes/x.yaml:12:3" or "override prune.budget.remove=0.3".
  std::string Where(Position at) const;

 private:
  struct Source {
    std::string text;
    std::string key;  // of an override
    bool is_override = false;
  };
  struct Mistake {
    Position at;
    std::string line;
  };
  std::vector<Source> sources_;
  std::vector<Mistake> mistakes_;
};

// `text` fit for a one-line message: control characters escaped, what is longer than `limit` bytes cut.
std::string OneLine(std::string_view text, size_t limit = 80);

}  // namespace espalier
