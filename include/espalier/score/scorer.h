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
  const Statistics* statistics = nullptr;  // null when the scorer needs none
  // For scorers that run the model and say so by the need "windows".
  at::Tensor windows = {};  // calibration windows [S, T] int64
  double remove = 0;        // the share that the budget takes
};

class Scorer {
 public:
  static constexpr std::string_view kKind = "scorer";
  virtual ~Scorer() = default;
  // Importance [units, parts] float64, CPU, higher means keep. A unit that feeds several input columns of its consumer
  // has one part for each, so that an allocator can normalise columns before it averages them (as FLAP does).
  virtual at::Tensor Score(const ScoreInput& input) const = 0;
  // Which kinds it can score. Default: those whose units are input columns of one consumer.
  virtual bool Scores(UnitKind kind) const { return Consumers(kind).size() == 1; }
};

// What calibration measured of the input of a consumer (of the one of `input`'s kind), and of its counted tokens.
// ShapeError when it was of another model.
const SiteStatistics& SiteFor(const ScoreInput& input, Role consumer);
const Moments& MomentsFor(const ScoreInput& input);
// The sums of one group (loss_mass, taylor) for the units of `input`: [units, ...]. ShapeError naming `scorer` when
// they are of another model; InternalError when the group was not measured.
const at::Tensor& SumsFor(const ScoreInput& input, std::string_view scorer, NamedSums BlockStatistics::*group);
// The statistics of the block of `input`. ShapeError when they are of another model.
const BlockStatistics& BlockFor(const ScoreInput& input);
// A value per input column of the consumer, [n] -> [units, parts] in unit order. A unit with fewer columns than others
// is filled up with the mean of its own. ShapeError when the sizes do not fit.
at::Tensor PerUnit(const ScoreInput& input, const at::Tensor& columns);
// A layer's weight in float64 on the CPU: [C, n].
at::Tensor ConsumerWeight(const ScoreInput& input, Role consumer);
// Calls the scorer and checks shape and finiteness: RecipeError when it does not score units of this kind, NumericError
// names scorer, block and unit.
at::Tensor CheckedScore(const Scorer& scorer, std::string_view name, const ScoreInput& input);

}  // namespace espalier
