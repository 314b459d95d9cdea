#pragma once
// Forms of export that a recipe names: `export: [hf, {to: gguf, type: q8_0}]`.
#include <string_view>

#include "espalier/core/registry.h"
#include "espalier/export/export.h"

namespace espalier {

struct ExportTarget {
  static constexpr std::string_view kKind = "export form";
  ExportOptions options;  // without `out`
};

}  // namespace espalier
