#pragma once
// Scorers: weights and statistics in, one row of numbers per unit out. They edit nothing.
#include <ATen/core/Tensor.h>

#include <string_view>

#include "espalier/calibrate/statistics.h"
#include "espalier/core/registry.h"
#include "espalier/model/unit_space.h"

namespace espalier {

struct ScoreInput {
  const Model& model;
  int64_t block;
  UnitKind kind;
  const Statistics* statistics;  // null when the scorer needs none
  bool exclude_sink_tokens;      // moments of ordinary tokens only
};

class Scorer {
 public:
  static constexpr std::string_view kKind = "scorer";
  virtual ~Scorer() = default;
  // Importance [units, parts] float64, CPU, higher means keep. A unit that feeds several input columns of its consumer
  // has one part for each, so that an allocator can normalise columns before it averages them (as FLAP does).
  virtual at::Tensor Score(const ScoreInput& input) const = 0;
};

// The moments that `input` asks for, of the consumer of its unit kind.
Moments MomentsFor(const ScoreInput& input);
// A value per input column of the consumer, [n] -> [units, parts] in unit order. ShapeError when the sizes do not fit.
at::Tensor PerUnit(const ScoreInput& input, const at::Tensor& columns);
// Calls the scorer and checks shape and finiteness: NumericError names scorer, block and unit.
at::Tensor CheckedScore(const Scorer& scorer, std::string_view name, const ScoreInput& input);

}  // namespace espalier
