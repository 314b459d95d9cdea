#pragma once
#include "espalier/plan/allocator.h"

namespace espalier {

// Allocators that work from scores and costs alone; the others run the model.
inline std::vector<std::string> AllocatorsByScore() {
  std::vector<std::string> names;
  for (const ComponentInfo* info : Registry<Allocator>::Infos())
    if (info->needs.empty()) names.push_back(info->name);
  return names;
}

}  // namespace espalier
