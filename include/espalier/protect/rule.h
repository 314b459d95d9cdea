#pragma once
// Protection rules: phenomena and statistics in, units that must stay out, each with its reason.
#include <string>
#include <string_view>
#include <vector>

#include "espalier/analyze/phenomena.h"
#include "espalier/calibrate/statistics.h"
#include "espalier/core/registry.h"
#include "espalier/model/config.h"
#include "espalier/model/unit.h"

namespace espalier {

struct Protection {
  Unit unit;
  std::string rule;
  std::string reason;  // one sentence with figures
};

// What rules look at: of the model before the cut.
struct ProtectionInput {
  const ModelConfig& model;
  const Phenomena& phenomena;
  // With what the rules of the recipe ask for by ComponentInfo::needs; may be null when none asks for any.
  const Statistics* statistics = nullptr;
};

class ProtectionRule {
 public:
  static constexpr std::string_view kKind = "protection rule";
  virtual ~ProtectionRule() = default;
  // Units that must stay. RecipeError when an explicit unit does not exist; ShapeError when the statistics are of
  // another model.
  virtual std::vector<Protection> Protect(const ProtectionInput& input) const = 0;
};

}  // namespace espalier
