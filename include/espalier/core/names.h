#pragma once
// Words that recipes and files write for the values of an enumeration.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/error.h"

namespace espalier {

// The place of `name` among `names`. RecipeError saying what it should have been, with the nearest names.
inline size_t IndexOfName(std::string_view what, std::string_view name, const std::vector<std::string>& names) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) throw RecipeError(UnknownName(what, name, names));
  return static_cast<size_t>(found - names.begin());
}

}  // namespace espalier
