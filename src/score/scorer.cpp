#include "espalier/score/scorer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace espalier {
namespace {

const Block& BlockOf(const ScoreInput& input) {
  return input.model.blocks.at(static_cast<size_t>(input.block));
}

Moments MomentsOf(const ScoreInput& input, Role role) {
  ESPALIER_CHECK(input.statistics != nullptr, "a scorer that reads statistics must declare it in `needs`");
  if (std::ssize(input.statistics->blocks) != input.model.config.L())
    throw ShapeError(fmt::format("statistics of {} blocks, the model has {}; calibrate this model again",
                                 input.statistics->blocks.size(), input.model.config.L()));
  const SiteStatistics& site = input.statistics->blocks[static_cast<size_t>(input.block)].At(role);
  const int64_t measured = site.ordinary.mean.size(0), columns = BlockOf(input).At(role).weight.size(1);
  if (measured != columns)
    throw ShapeError(
        fmt::format("block {}: statistics of {} inputs of {}, the model has {}; calibrate this model again",
                    input.block, measured, RoleName(role), columns));
  return input.exclude_sink_tokens ? site.ordinary : site.All();
}

// [n] float64 on the CPU.
at::Tensor ColumnsOf(const ScoreInput& input, Role role, const ColumnScore& score) {
  const at::Tensor& weight = BlockOf(input).At(role).weight;
  const at::Tensor columns = score({role, weight, MomentsOf(input, role)});
  ESPALIER_CHECK(columns.dim() == 1 && columns.size(0) == weight.size(1), "a value for each input column");
  return columns.to(at::kDouble).cpu();
}

// The columns of each unit, one row a unit; unequal rows become their means.
at::Tensor GatherParts(const UnitSpace& space, const at::Tensor& columns) {
  std::vector<at::Tensor> parts;
  bool equal = true;
  for (int64_t unit = 0; unit < space.size(); ++unit) {
    parts.push_back(columns.index_select(0, at::tensor(space.ConsumerColumns(unit), at::kLong)));
    equal = equal && parts.back().size(0) == parts.front().size(0);
  }
  if (!equal)
    for (at::Tensor& part : parts) part = part.mean(0, /*keepdim=*/true);
  return at::stack(parts);
}

}  // namespace

at::Tensor ScoreColumns(const ScoreInput& input, const ColumnScore& score) {
  const auto consumers = Consumers(input.kind);
  ESPALIER_CHECK(!consumers.empty(), "units of this kind feed no consumer");
  if (InfoOf(input.kind).scope == UnitScope::kSublayer) {
    at::Tensor sum = at::zeros({1, 1}, at::kDouble);
    for (const Role role : consumers)
      if (BlockOf(input).At(role).defined()) sum = sum + ColumnsOf(input, role, score).sum();
    return sum;
  }
  const at::Tensor columns = ColumnsOf(input, consumers.front(), score);
  if (input.kind == UnitKind::kFfnChannel) return columns.unsqueeze(1);  // one column each, in order
  return GatherParts(UnitSpace(input.model, input.block, input.kind), columns);
}

void CheckScores(const Scorer& scorer, std::string_view name, UnitKind kind) {
  if (scorer.Scores(kind)) return;
  std::vector<std::string> able;
  for (const std::string& other : Registry<Scorer>::Names())
    if (Registry<Scorer>::Create(other)->Scores(kind)) able.push_back(other);
  throw RecipeError(fmt::format("prune.score: scorer {} has no score for {}; use {}", name, UnitKindName(kind),
                                fmt::join(able, ", ")));
}

at::Tensor CheckedScore(const Scorer& scorer, std::string_view name, const ScoreInput& input) {
  CheckScores(scorer, name, input.kind);
  const at::Tensor score = scorer.Score(input);
  const UnitSpace space(input.model, input.block, input.kind);
  ESPALIER_CHECK(score.dim() == 2 && score.size(0) == space.size() && score.scalar_type() == at::kDouble,
                 "a scorer returns [units, parts] float64");
  const at::Tensor bad = at::isfinite(score).logical_not().any(1).nonzero();
  if (bad.numel() > 0)
    throw NumericError(
        fmt::format("scorer {}: {}: the score is not finite; look at this block's weights and statistics", name,
                    UnitText({input.block, input.kind, bad[0].item<int64_t>()})));
  return score;
}

}  // namespace espalier
