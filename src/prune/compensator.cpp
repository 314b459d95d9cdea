#include "espalier/prune/compensator.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <optional>

#include "espalier/core/log.h"
#include "refit.h"

namespace espalier {
namespace {

const Linear& Dense(const RefitContext& context, int64_t l, Role consumer) {
  return context.model.blocks[static_cast<size_t>(l)].At(consumer);
}

void CheckRepair(const Repair& repair, int64_t l, Role consumer) {
  const bool finite = repair.weight.isfinite().all().item<bool>() &&
                      (!repair.bias.defined() || repair.bias.isfinite().all().item<bool>());
  if (!finite)
    throw NumericError(fmt::format("compensate: block {}: {} is not finite after the refit", l, RoleName(consumer)));
}

}  // namespace

bool LosesInputs(const RefitContext& context, int64_t l, Role consumer) {
  const Linear& dense = Dense(context, l, consumer);
  return dense.defined() && std::ssize(context.ledger.Kept(l, consumer, Axis::kColumns)) != dense.weight.size(1);
}

Repair FitConsumer(const RefitContext& context, int64_t l, Role consumer, const RefitData& data) {
  const Linear& dense = Dense(context, l, consumer);
  const int64_t measured = data.inputs.counted.mean.size(0);
  if (measured != dense.weight.size(1))
    throw ShapeError(
        fmt::format("block {}: statistics of {} inputs of {}, the model has {}; calibrate this model again", l,
                    measured, RoleName(consumer), dense.weight.size(1)));
  Repair repair;
  try {
    repair = context.compensator.Fit(dense, data, context.ledger.Kept(l, consumer, Axis::kColumns));
  } catch (const NumericError& error) {
    throw NumericError(fmt::format("block {}: {}: {}", l, RoleName(consumer), error.what()));
  }
  CheckRepair(repair, l, consumer);
  return repair;
}

// Outputs that left the residual stream are not written any more.
void WriteRepair(const RefitContext& context, int64_t l, Role consumer, const Repair& repair) {
  const Linear& dense = Dense(context, l, consumer);
  const std::vector<int64_t> outputs = context.ledger.Kept(l, consumer, Axis::kRows);
  const bool all = std::ssize(outputs) == dense.weight.size(0);
  const auto written = [&](const at::Tensor& fitted) {
    const at::Tensor kept = all ? fitted : fitted.index_select(0, at::tensor(outputs, at::kLong).to(fitted.device()));
    return kept.to(dense.weight.options());
  };
  Linear& target = context.cut.blocks[static_cast<size_t>(l)].At(consumer);
  if (repair.weight.size(1) > 0) target.weight = written(repair.weight);
  if (repair.bias.defined()) target.bias = written(repair.bias);
}

void Compensate(const Model& model, const Plan& plan, const Statistics& statistics, const Compensator& compensator,
                Model& cut, bool quiet) {
  std::optional<Progress> progress;
  if (!quiet) progress.emplace("compensate", model.config.L());
  const Ledger ledger = LedgerOf(model, plan);
  const RefitContext context{model, ledger, compensator, cut};
  for (int64_t l = 0; l < model.config.L(); ++l) {
    for (const Role consumer : {Role::kO, Role::kDown})
      if (LosesInputs(context, l, consumer))
        WriteRepair(context, l, consumer,
                    FitConsumer(context, l, consumer, statistics.blocks.at(static_cast<size_t>(l)).At(consumer)));
    if (progress) progress->Step();
  }
  CheckShapes(cut);
}

}  // namespace espalier
