#include "espalier/score/scorer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace espalier {

Moments MomentsFor(const ScoreInput& input) {
  ESPALIER_CHECK(input.statistics != nullptr, "a scorer that reads statistics must declare it in `needs`");
  const UnitSpace space(input.model, input.block, input.kind);
  if (static_cast<int64_t>(input.statistics->blocks.size()) != input.model.config.L())
    throw ShapeError(fmt::format("statistics of {} blocks, the model has {}; calibrate this model again",
                                 input.statistics->blocks.size(), input.model.config.L()));
  const SiteStatistics& site = input.statistics->blocks[static_cast<size_t>(input.block)].At(space.consumer());
  const int64_t measured = site.ordinary.mean.size(0);
  const int64_t columns = input.model.blocks[static_cast<size_t>(input.block)].At(space.consumer()).weight.size(1);
  if (measured != columns)
    throw ShapeError(
        fmt::format("block {}: statistics of {} inputs of {}, the model has {}; calibrate this model again",
                    input.block, measured, RoleName(space.consumer()), columns));
  return input.exclude_sink_tokens ? site.ordinary : site.All();
}

at::Tensor PerUnit(const ScoreInput& input, const at::Tensor& columns) {
  const UnitSpace space(input.model, input.block, input.kind);
  std::vector<at::Tensor> rows;
  if (input.kind == UnitKind::kFfnChannel) {  // one column each, in order
    if (columns.size(0) != space.size())
      throw ShapeError(fmt::format("block {}: statistics of {} FFN channels, the model has {}", input.block,
                                   columns.size(0), space.size()));
    return columns.to(at::kDouble).cpu().unsqueeze(1);
  }
  for (int64_t unit = 0; unit < space.size(); ++unit) {
    const std::vector<int64_t> owned = space.ConsumerColumns(unit);
    if (owned.back() >= columns.size(0))
      throw ShapeError(fmt::format("block {}: statistics of {} columns, unit {} owns column {}", input.block,
                                   columns.size(0), unit, owned.back()));
    rows.push_back(columns.to(at::kDouble).cpu().index_select(0, at::tensor(owned, at::kLong)));
  }
  return at::stack(rows);
}

at::Tensor CheckedScore(const Scorer& scorer, std::string_view name, const ScoreInput& input) {
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
