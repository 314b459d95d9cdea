#include "espalier/calibrate/gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/model/forward.h"
#include "espalier/model/loss.h"
#include "espalier/model/unit_space.h"

namespace espalier {
namespace {

using at::Tensor;

// What goes into each block, and what comes out of the last: L + 1 tensors [B, T, C].
std::vector<Tensor> BlockInputs(const Model& model, const Tensor& ids, const Rope& rope) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> inputs = {Embed(model, ids)};
  for (int64_t l = 0; l < model.config.L(); ++l) inputs.push_back(RunBlock(model, l, inputs.back(), rope));
  return inputs;
}

// d(sum of losses) / d(output of the last block).
Tensor OutputGradient(const Model& model, const Tensor& output, const Tensor& ids) {
  const Tensor leaf = output.detach().requires_grad_(true);
  const Tensor hidden = FinalNorm(model, leaf).slice(1, 0, -1).reshape({-1, model.config.C});
  const Tensor targets = ids.slice(1, 1).reshape({-1});
  const Tensor loss = NextTokenLoss(hidden, model.Head(), targets) * static_cast<double>(targets.size(0));
  return torch::autograd::grad({loss}, {leaf}).at(0);
}

// Backward through one block; the gradient of its input.
Tensor BlockGradient(const Model& model, int64_t l, const Tensor& input, const Tensor& output_gradient,
                     const Rope& rope, const VisitGradient& visit) {
  const Tensor leaf = input.detach().requires_grad_(true);
  BlockTaps taps({Site::kHeadOut, Site::kFfnHidden});
  const Tensor output = RunBlock(model, l, leaf, rope, &taps);
  std::vector<Tensor> of = {leaf};
  std::vector<Role> roles;
  for (const auto& [site, role] : {std::pair{Site::kHeadOut, Role::kO}, {Site::kFfnHidden, Role::kDown}})
    if (taps.At(site).defined()) of.push_back(taps.At(site)), roles.push_back(role);
  const std::vector<Tensor> gradients = torch::autograd::grad({output}, of, {output_gradient});
  for (size_t i = 0; i < roles.size(); ++i) visit(l, roles[i], of[i + 1].detach(), gradients[i + 1]);
  return gradients[0];
}

// Sum over the columns of each unit, squared, summed over tokens: [units] float64.
Tensor UnitMass(const Tensor& product, const UnitSpace& space) {
  const int64_t units = space.size();
  std::vector<int64_t> columns;
  for (int64_t unit = 0; unit < units; ++unit)
    for (const int64_t column : space.ConsumerColumns(unit)) columns.push_back(column);
  const Tensor ordered = product.index_select(1, at::tensor(columns, at::kLong).to(product.device()));
  return ordered.view({product.size(0), units, -1}).sum(2).square().sum(0, /*keepdim=*/false, at::kDouble).cpu();
}

}  // namespace

void StreamGradients(const Model& model, const Tensor& windows, int64_t batch, const VisitGradient& visit) {
  const at::AutoGradMode recording(true);
  const Rope rope = MakeRope(model.config, windows.size(1), model.device(), model.dtype());
  Progress progress("gradients", windows.size(0));
  for (int64_t first = 0; first < windows.size(0); first += batch) {
    const int64_t B = std::min(batch, windows.size(0) - first);
    const Tensor ids = windows.narrow(0, first, B).to(model.device());
    const std::vector<Tensor> inputs = BlockInputs(model, ids, rope);
    Tensor gradient = OutputGradient(model, inputs.back(), ids);
    for (int64_t l = model.config.L() - 1; l >= 0; --l)
      gradient = BlockGradient(model, l, inputs[static_cast<size_t>(l)], gradient, rope, visit);
    progress.Step(B);
  }
}

void AddLossMass(const Model& model, const Tensor& windows, int64_t batch, Statistics& statistics) {
  statistics.gradient_tokens += windows.numel();
  StreamGradients(model, windows, batch, [&](int64_t l, Role consumer, const Tensor& input, const Tensor& gradient) {
    const UnitSpace space(model, l, consumer == Role::kO ? UnitKind::kKvGroup : UnitKind::kFfnChannel);
    const Tensor mass = UnitMass((input * gradient).flatten(0, 1).to(at::kFloat), space);
    if (!mass.isfinite().all().item<bool>())
      throw NumericError(fmt::format("block {}: the gradient at the input of {} is not finite; use dtype float32", l,
                                     RoleName(consumer)));
    Tensor& into = statistics.blocks[static_cast<size_t>(l)].LossMassOf(consumer);
    into = into.defined() ? into + mass : mass;
  });
}

}  // namespace espalier
