#pragma once
// Protection rules: phenomena and statistics in, units that must stay out, each with its reason.
#include <string>
#include <string_view>
#include <vector>

#include "espalier/analyze/phenomena.h"
#include "espalier/core/registry.h"
#include "espalier/model/config.h"
#include "espalier/model/unit.h"

namespace espalier {

struct Protection {
  Unit unit;
  std::string rule;
  std::string reason;  // one sentence with figures
};

class ProtectionRule {
 public:
  static constexpr std::string_view kKind = "protection rule";
  virtual ~ProtectionRule() = default;
  // Units of `model` that must stay. RecipeError when an explicit unit does not exist.
  virtual std::vector<Protection> Protect(const ModelConfig& model, const Phenomena& phenomena) const = 0;
};

}  // namespace espalier
