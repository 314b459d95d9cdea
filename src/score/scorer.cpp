#include "espalier/score/scorer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace espalier {

const BlockStatistics& BlockFor(const ScoreInput& input) {
  ESPALIER_CHECK(input.statistics != nullptr, "a scorer that reads statistics must declare it in `needs`");
  if (static_cast<int64_t>(input.statistics->blocks.size()) != input.model.config.L())
    throw ShapeError(fmt::format("statistics of {} blocks, the model has {}; calibrate this model again",
                                 input.statistics->blocks.size(), input.model.config.L()));
  return input.statistics->blocks[static_cast<size_t>(input.block)];
}

const SiteStatistics& SiteFor(const ScoreInput& input, Role consumer) {
  const SiteStatistics& site = BlockFor(input).At(consumer);
  const int64_t measured = site.counted.mean.size(0);
  const int64_t columns = input.model.blocks[static_cast<size_t>(input.block)].At(consumer).weight.size(1);
  if (measured != columns)
    throw ShapeError(
        fmt::format("block {}: statistics of {} inputs of {}, the model has {}; calibrate this model again",
                    input.block, measured, RoleName(consumer), columns));
  return site;
}

const Moments& MomentsFor(const ScoreInput& input) {
  return SiteFor(input, UnitSpace(input.model, input.block, input.kind).consumer()).counted;
}

const at::Tensor& SumsFor(const ScoreInput& input, std::string_view scorer, NamedSums BlockStatistics::*group) {
  const NamedSums& sums = BlockFor(input).*group;
  ESPALIER_CHECK(!sums.empty(), fmt::format("{} must declare what it reads in `needs`", scorer));
  const auto found = sums.find(UnitKindName(input.kind));
  const int64_t units = UnitSpace(input.model, input.block, input.kind).size();
  const int64_t measured = found == sums.end() ? 0 : found->second.size(0);
  if (measured != units)
    throw ShapeError(
        fmt::format("{}: block {}: statistics of {} {} units, the model has {}; calibrate this model again", scorer,
                    input.block, measured, UnitKindName(input.kind), units));
  return found->second;
}

at::Tensor PerUnit(const ScoreInput& input, const at::Tensor& columns) {
  const UnitSpace space(input.model, input.block, input.kind);
  const at::Tensor values = columns.to(at::kDouble).cpu();
  if (input.kind == UnitKind::kFfnChannel) {  // one column each, in order
    if (columns.size(0) != space.size())
      throw ShapeError(fmt::format("block {}: statistics of {} FFN channels, the model has {}", input.block,
                                   columns.size(0), space.size()));
    return values.unsqueeze(1);
  }
  std::vector<at::Tensor> rows;
  int64_t parts = 0;
  for (int64_t unit = 0; unit < space.size(); ++unit) {
    const std::vector<int64_t> owned = space.ConsumerColumns(unit);
    if (owned.back() >= columns.size(0))
      throw ShapeError(fmt::format("block {}: statistics of {} columns, unit {} owns column {}", input.block,
                                   columns.size(0), unit, owned.back()));
    rows.push_back(values.index_select(0, at::tensor(owned, at::kLong)));
    parts = std::max(parts, rows.back().size(0));
  }
  for (at::Tensor& row : rows) row = at::cat({row, row.mean().expand({parts - row.size(0)})});
  return at::stack(rows);
}

at::Tensor ConsumerWeight(const ScoreInput& input, Role consumer) {
  return input.model.blocks.at(static_cast<size_t>(input.block)).At(consumer).weight.to(at::kDouble).cpu();
}

at::Tensor CheckedScore(const Scorer& scorer, std::string_view name, const ScoreInput& input) {
  if (!scorer.Scores(input.kind)) {
    std::vector<std::string_view> kinds;
    for (const UnitKindInfo& info : UnitKinds())
      if (scorer.Scores(info.kind)) kinds.push_back(info.name);
    throw RecipeError(
        fmt::format("prune.score: {} does not score {} units, only {}; choose another scorer, or leave "
                    "them out of prune.units",
                    name, UnitKindName(input.kind), fmt::join(kinds, ", ")));
  }
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
