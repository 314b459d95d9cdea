#include "espalier/prune/compensator.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/log.h"
#include "espalier/model/unit_space.h"
#include "espalier/prune/cut.h"

namespace espalier {
namespace {

// Fit with errors that name the block, which the compensator does not know.
Repair FitBlock(const Compensator& compensator, const Linear& dense, const SiteStatistics& site,
                const std::vector<int64_t>& kept, int64_t l, Role role) {
  if (site.counted.mean.size(0) != dense.weight.size(1))
    throw ShapeError(
        fmt::format("block {}: statistics of {} inputs of {}, the model has {}; calibrate this model again", l,
                    site.counted.mean.size(0), RoleName(role), dense.weight.size(1)));
  try {
    return compensator.Fit(dense, site, kept);
  } catch (const NumericError& error) {
    throw NumericError(fmt::format("block {}: {}: {}", l, RoleName(role), error.what()));
  }
}

void Refit(const Model& model, int64_t l, UnitKind kind, const std::vector<int64_t>& kept_units,
           const Statistics& statistics, const Compensator& compensator, Model& cut) {
  const UnitSpace space(model, l, kind);
  if (static_cast<int64_t>(kept_units.size()) == space.size()) return;
  const Linear& dense = model.blocks[static_cast<size_t>(l)].At(space.consumer());
  Linear& target = cut.blocks[static_cast<size_t>(l)].At(space.consumer());
  const std::vector<int64_t> kept = KeptColumns(model, l, kind, kept_units);
  const SiteStatistics& site = statistics.blocks.at(static_cast<size_t>(l)).At(space.consumer());
  const Repair repair = FitBlock(compensator, dense, site, kept, l, space.consumer());
  const bool finite = repair.weight.isfinite().all().item<bool>() &&
                      (!repair.bias.defined() || repair.bias.isfinite().all().item<bool>());
  if (!finite)
    throw NumericError(
        fmt::format("compensate: block {}: {} is not finite after the refit", l, RoleName(space.consumer())));
  if (!kept.empty()) target.weight = repair.weight.to(dense.weight.options());
  if (repair.bias.defined()) target.bias = repair.bias.to(dense.weight.options());
}

}  // namespace

void Compensate(const Model& model, const Plan& plan, const Statistics& statistics, const Compensator& compensator,
                Model& cut) {
  Progress progress("compensate", model.config.L());
  for (int64_t l = 0; l < model.config.L(); ++l) {
    const BlockPlan& block = plan.blocks[static_cast<size_t>(l)];
    Refit(model, l, UnitKind::kKvGroup, block.kv_groups, statistics, compensator, cut);
    Refit(model, l, UnitKind::kFfnChannel, block.ffn_channels, statistics, compensator, cut);
    progress.Step();
  }
  CheckShapes(cut);
}

}  // namespace espalier
