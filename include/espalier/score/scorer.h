#pragma once
// Scorers: weights and statistics in, one row of numbers per unit out. They edit nothing.
#include <ATen/core/Tensor.h>

#include <functional>
#include <string_view>

#include "espalier/calibrate/statistics.h"
#include "espalier/core/registry.h"
#include "espalier/model/unit_space.h"

namespace espalier {

struct ScoreInput {
  const Model& model;
  int64_t block;  // kWholeModel for kinds of the model as a whole
  UnitKind kind;
  const Statistics* statistics = nullptr;  // null when the scorer needs none
  // For scorers that run the model and say so by the need "windows".
  at::Tensor windows = {};  // calibration windows [S, T] int64
  double remove = 0;        // the share that the budget takes
  // All kinds of the plan, for scorers that weigh units of different kinds against each other; null: this one alone.
  const std::vector<UnitKind>* kinds = nullptr;
};

class Scorer {
 public:
  static constexpr std::string_view kKind = "scorer";
  virtual ~Scorer() = default;
  // Whether units of this kind have a score. Most scorers read the inputs of w_o and w_down, and so score the kinds
  // that feed them.
  virtual bool Scores(UnitKind kind) const { return !Consumers(kind).empty(); }
  // Whether the scores are learned for one share of block parameters (`remove`), and say little about any other budget.
  virtual bool TrainsTowardsTheBudget() const { return false; }
  // Importance [units, parts] float64, CPU, higher means keep. A unit that feeds several input columns of its consumer
  // has one part for each, so that an allocator can normalise columns before it averages them (as FLAP does).
  virtual at::Tensor Score(const ScoreInput& input) const = 0;
};

// One consumer of a block's units, with the moments of its input columns over the counted tokens.
struct ConsumerInput {
  Role role;
  const at::Tensor& weight;  // [C, n]
  const Moments& moments;    // of n columns
};
// A value per input column of one consumer: [n].
using ColumnScore = std::function<at::Tensor(const ConsumerInput& consumer)>;

// What a score of columns makes of any kind that feeds a consumer, [units, parts] float64 on the CPU:
// - width kinds: the values of the columns that the unit feeds, one part each; their mean as the only part where units
//   of the block feed different numbers of columns (groups that lost heads);
// - attention and ffn: the sum over all columns; block: over those of w_o and of w_down.
// ShapeError when the statistics are of another model.
at::Tensor ScoreColumns(const ScoreInput& input, const ColumnScore& score);

// What calibration measured of the input of a consumer. ShapeError when it was of another model.
const SiteStatistics& SiteFor(const ScoreInput& input, Role consumer);
// The sums of one group (loss_mass, taylor) for the units of `input`: [units, ...]. ShapeError naming `scorer` when
// they are of another model; InternalError when the group was not measured.
const at::Tensor& SumsFor(const ScoreInput& input, std::string_view scorer, NamedSums BlockStatistics::*group);
// The statistics of the block of `input`. ShapeError when they are of another model.
const BlockStatistics& BlockFor(const ScoreInput& input);
// A layer's weight in float64 on the CPU: [C, n].
at::Tensor ConsumerWeight(const ScoreInput& input, Role consumer);

// RecipeError when the scorer has no score for units of this kind, naming the scorers that have.
void CheckScores(const Scorer& scorer, std::string_view name, UnitKind kind);

// Calls the scorer and checks kind, shape and finiteness: NumericError names scorer, block and unit.
at::Tensor CheckedScore(const Scorer& scorer, std::string_view name, const ScoreInput& input);

}  // namespace espalier
