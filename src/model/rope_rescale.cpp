#include "espalier/model/rope_rescale.h"

#include <fmt/format.h>

#include <cmath>

#include "espalier/core/error.h"

namespace espalier {

std::vector<std::string> RopeMethods() {
  return {"as_trained", "base", "linear", "yarn"};
}

ModelConfig WithRope(const ModelConfig& config, const RopeChange& change) {
  ModelConfig changed = config;
  if (change.method == "as_trained") return changed;
  RopeConfig& rope = changed.rope;
  if (rope.scaling != "none")
    throw RecipeError(fmt::format("rope: {}: the model has {} scaling by {} already; expected one that has none",
                                  change.method, rope.scaling, rope.factor));
  if (change.method == "base") {
    rope.theta *= change.factor;
    return changed;
  }
  if (config.max_positions <= 0)
    throw RecipeError(
        fmt::format("rope: {}: the model does not say how many positions it was trained for", change.method));
  rope.scaling = change.method;
  rope.factor = change.factor;
  rope.original_positions = config.max_positions;
  if (change.method == "yarn") rope.attention_factor = 1 + 0.1 * std::log(change.factor);
  return changed;
}

}  // namespace espalier
