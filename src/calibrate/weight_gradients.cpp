#include "espalier/calibrate/weight_gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "espalier/calibrate/gradients.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/io/mapped.h"
#include "espalier/model/forward.h"
#include "espalier/model/unit_space.h"

namespace espalier {
namespace {

using at::Tensor;

std::vector<Role> RolesOf(const Block& block) {
  std::vector<Role> roles;
  for (const Role role : kRoles)
    if (block.At(role).defined()) roles.push_back(role);
  return roles;
}

// The weights' gradients over all sequences: their mean and the mean of their squares, by role.
struct WeightGradients {
  std::map<Role, Tensor> mean, square;
};

// Backward of all sequences through block `l`: `gradient` [S, T, C] at its output becomes that at its input.
WeightGradients BackwardWeights(const Model& dense, int64_t l, const Tensor& inputs, const Rope& rope,
                                const Tensor& gradient) {
  Model model = dense;  // shares its tensors; this block's become leaves
  Block& block = model.blocks[static_cast<size_t>(l)];
  const std::vector<Role> roles = RolesOf(block);
  std::vector<Tensor> leaves;
  WeightGradients sums;
  for (const Role role : roles) {
    Tensor& weight = block.At(role).weight;
    weight = weight.detach().requires_grad_(true);
    leaves.push_back(weight);
    sums.mean[role] = at::zeros_like(weight, at::kFloat).detach();
    sums.square[role] = at::zeros_like(weight, at::kFloat).detach();
  }
  const int64_t S = inputs.size(0);
  for (int64_t s = 0; s < S; ++s) {
    const Tensor input = inputs.narrow(0, s, 1), output = gradient.narrow(0, s, 1);
    const BlockGradients one =
        BackwardBlock(model, l, input.to(model.device()), output.to(model.device()), rope, {}, leaves);
    for (size_t i = 0; i < roles.size(); ++i) {
      const Tensor g = one.leaves[i].to(at::kFloat);
      sums.mean[roles[i]].add_(g, 1.0 / static_cast<double>(S));
      sums.square[roles[i]].addcmul_(g, g, 1.0 / static_cast<double>(S));
    }
    output.copy_(one.input);
    LetGo(input);
    LetGo(output);
  }
  return sums;
}

// The three orders of one matrix summed along its rows or columns: [3, out] or [3, in] float64.
struct Margins {
  Tensor rows, columns;
};
Margins OrdersOf(const Tensor& weight, const Tensor& mean, const Tensor& square) {
  const Tensor w = weight.to(at::kFloat), first = w * mean, second = w.square() * square;
  std::vector<Tensor> rows, columns;
  for (const Tensor& order : {first.abs(), second, (first - second / 2).abs()}) {
    rows.push_back(order.sum(1, /*keepdim=*/false, at::kDouble).cpu());
    columns.push_back(order.sum(0, /*keepdim=*/false, at::kDouble).cpu());
  }
  return {at::stack(rows), at::stack(columns)};
}

Tensor UnitSums(const UnitSpace& space, const std::map<Role, Margins>& margins) {
  Tensor sums = at::zeros({space.size(), 3}, at::kDouble);
  for (int64_t unit = 0; unit < space.size(); ++unit)
    for (const Slice& slice : space.Owns(unit)) {
      const Margins& margin = margins.at(slice.role);
      const Tensor& along = slice.axis == Axis::kRows ? margin.rows : margin.columns;
      sums[unit] += along.narrow(1, slice.first, slice.count).sum(1);
    }
  return sums;
}

}  // namespace

void AddTaylorSums(const BlockSource& source, const Tensor& windows, const Scratch& scratch, Statistics& statistics) {
  const at::NoGradGuard no_grad;
  const Model& model = source.model();
  const int64_t T = windows.size(1);
  const Rope rope = MakeRope(model.config, T, model.device(), model.dtype());
  ForwardPass pass = RunForward(source, windows, /*batch=*/1, scratch);
  const Tensor gradient = GradientOf(pass, model, windows, /*batch=*/1);  // [S, T, C]
  gradient.div_(static_cast<double>(T - 1));                              // of each sequence's mean loss
  Progress progress("weight gradients", model.config.L());
  for (int64_t l = model.config.L() - 1; l >= 0; --l) {
    const BlockSource::Held held = source.Hold(l);
    const auto at = static_cast<size_t>(l);
    const WeightGradients sums = BackwardWeights(model, l, pass.inputs[l], rope, gradient);
    if (!std::isfinite(gradient.sum(at::kDouble).item<double>()))
      throw NumericError(
          fmt::format("block {}: the gradient of the loss at its input is not finite; use dtype float32", l));
    std::map<Role, Margins> margins;
    for (const auto& [role, mean] : sums.mean)
      margins[role] = OrdersOf(model.blocks[at].At(role).weight, mean, sums.square.at(role));
    for (const UnitKindInfo& info : UnitKinds()) {
      if (info.scope == UnitScope::kModel) continue;
      const UnitSpace space(model, l, info.kind);
      if (space.size() > 0)
        statistics.blocks[at].taylor.insert_or_assign(std::string(info.name), UnitSums(space, margins));
    }
    progress.Step();
  }
}

}  // namespace espalier
