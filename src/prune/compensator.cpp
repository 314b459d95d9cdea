#include "espalier/prune/compensator.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/log.h"
#include "espalier/plan/ledger.h"

namespace espalier {
namespace {

// Fit with errors that name the block, which the compensator does not know.
Repair FitBlock(const Compensator& compensator, const Linear& dense, const SiteStatistics& site,
                const std::vector<int64_t>& kept, int64_t l, Role role) {
  if (site.ordinary.mean.size(0) != dense.weight.size(1))
    throw ShapeError(
        fmt::format("block {}: statistics of {} inputs of {}, the model has {}; calibrate this model again", l,
                    site.ordinary.mean.size(0), RoleName(role), dense.weight.size(1)));
  try {
    return compensator.Fit(dense, site, kept);
  } catch (const NumericError& error) {
    throw NumericError(fmt::format("block {}: {}: {}", l, RoleName(role), error.what()));
  }
}

// Outputs that left the residual stream are not written any more.
void WriteRepair(const Repair& repair, const Linear& dense, const std::vector<int64_t>& outputs, Linear& target) {
  const bool all = std::ssize(outputs) == dense.weight.size(0);
  const auto written = [&](const at::Tensor& fitted) {
    const at::Tensor kept = all ? fitted : fitted.index_select(0, at::tensor(outputs, at::kLong).to(fitted.device()));
    return kept.to(dense.weight.options());
  };
  if (repair.weight.size(1) > 0) target.weight = written(repair.weight);
  if (repair.bias.defined()) target.bias = written(repair.bias);
}

void Refit(const Model& model, const Ledger& ledger, int64_t l, Role consumer, const Statistics& statistics,
           const Compensator& compensator, Model& cut) {
  const Linear& dense = model.blocks[static_cast<size_t>(l)].At(consumer);
  const std::vector<int64_t> kept = ledger.Kept(l, consumer, Axis::kColumns);
  if (!dense.defined() || std::ssize(kept) == dense.weight.size(1)) return;
  const SiteStatistics& site = statistics.blocks.at(static_cast<size_t>(l)).At(consumer);
  const Repair repair = FitBlock(compensator, dense, site, kept, l, consumer);
  const bool finite = repair.weight.isfinite().all().item<bool>() &&
                      (!repair.bias.defined() || repair.bias.isfinite().all().item<bool>());
  if (!finite)
    throw NumericError(fmt::format("compensate: block {}: {} is not finite after the refit", l, RoleName(consumer)));
  WriteRepair(repair, dense, ledger.Kept(l, consumer, Axis::kRows), cut.blocks[static_cast<size_t>(l)].At(consumer));
}

}  // namespace

void Compensate(const Model& model, const Plan& plan, const Statistics& statistics, const Compensator& compensator,
                Model& cut) {
  Progress progress("compensate", model.config.L());
  const Ledger ledger = LedgerOf(model, plan);
  for (int64_t l = 0; l < model.config.L(); ++l) {
    for (const Role consumer : {Role::kO, Role::kDown}) Refit(model, ledger, l, consumer, statistics, compensator, cut);
    progress.Step();
  }
  CheckShapes(cut);
}

}  // namespace espalier
