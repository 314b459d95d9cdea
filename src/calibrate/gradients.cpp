#include "espalier/calibrate/gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/log.h"
#include "espalier/core/names.h"
#include "espalier/core/random.h"
#include "espalier/io/mapped.h"
#include "espalier/model/forward.h"
#include "espalier/model/loss.h"

namespace espalier {

using at::Tensor;

const std::vector<std::string>& LossTargetsNames() {
  static const std::vector<std::string> names = {"text", "drawn"};
  return names;
}

std::string_view LossTargetsName(LossTargets targets) {
  return LossTargetsNames()[static_cast<size_t>(targets)];
}

LossTargets ParseLossTargets(std::string_view name) {
  return static_cast<LossTargets>(IndexOfName("targets of gradients", name, LossTargetsNames()));
}

std::vector<Tensor> BlockInputs(const Model& model, const Tensor& ids, const Rope& rope) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> inputs = {Embed(model, ids)};
  for (int64_t l = 0; l < model.config.L(); ++l) inputs.push_back(RunBlock(model, l, inputs.back(), rope));
  return inputs;
}

Tensor TargetsOf(const TargetRule& rule, const Model& model, const Tensor& output, const Tensor& ids,
                 int64_t first_window) {
  if (rule.targets == LossTargets::kText) return ids.slice(1, 1);
  constexpr uint64_t kStream = 2;  // apart from the streams that choose windows
  const at::NoGradGuard no_grad;
  const int64_t B = ids.size(0), T = ids.size(1), from = (rule.before + first_window) * T;
  std::vector<double> uniform;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t + 1 < T; ++t)
      uniform.push_back(RandomUnit(rule.seed, kStream, static_cast<uint64_t>(from + b * T + t)));
  const Tensor hidden = FinalNorm(model, output).slice(1, 0, -1).reshape({-1, model.config.C});
  return DrawTokens(hidden, model.Head(), at::tensor(uniform, at::kDouble)).view({B, T - 1});
}

Tensor OutputGradient(const Model& model, const Tensor& output, const Tensor& targets) {
  const at::AutoGradMode recording(true);
  const Tensor leaf = output.detach().requires_grad_(true);
  const Tensor hidden = FinalNorm(model, leaf).slice(1, 0, -1).reshape({-1, model.config.C});
  const Tensor loss = NextTokenLoss(hidden, model.Head(), targets.reshape({-1})) * static_cast<double>(targets.numel());
  return torch::autograd::grad({loss}, {leaf}).at(0);
}

BlockGradients BackwardBlock(const Model& model, int64_t l, const Tensor& input, const Tensor& output_gradient,
                             const Rope& rope, const std::vector<Site>& sites, const std::vector<Tensor>& leaves) {
  const at::AutoGradMode recording(true);
  const Tensor leaf = input.detach().requires_grad_(true);
  BlockTaps taps(sites);
  const Tensor output = RunBlock(model, l, leaf, rope, &taps);
  std::vector<Tensor> of = {leaf};
  std::vector<Site> seen;
  // A removed sublayer's constant is no function of anything.
  for (const Site site : sites)
    if (taps.At(site).defined() && taps.At(site).requires_grad()) of.push_back(taps.At(site)), seen.push_back(site);
  of.insert(of.end(), leaves.begin(), leaves.end());
  const std::vector<Tensor> gradients = torch::autograd::grad({output}, of, {output_gradient});
  BlockGradients result{gradients[0], {}, {gradients.begin() + 1 + static_cast<int64_t>(seen.size()), gradients.end()}};
  for (size_t i = 0; i < seen.size(); ++i) result.sites[seen[i]] = {of[i + 1].detach(), gradients[i + 1]};
  return result;
}

ForwardPass ForwardPass::Empty(const Model& model, at::IntArrayRef windows, const Scratch& scratch) {
  const int64_t S = windows.at(0), T = windows.at(1), C = model.config.C;
  return {scratch.Empty({model.config.L(), S, T, C}, model.embedding.options()),
          scratch.Empty({S, T, C}, model.embedding.options())};
}

ForwardPass RunForward(const BlockSource& source, const Tensor& windows, int64_t batch, const Scratch& scratch) {
  const at::NoGradGuard no_grad;
  const Model& model = source.model();
  const int64_t L = model.config.L(), S = windows.size(0);
  const Rope rope = MakeRope(model.config, windows.size(1), model.device(), model.dtype());
  ForwardPass pass = ForwardPass::Empty(model, windows.sizes(), scratch);
  for (int64_t first = 0; first < S; first += batch) {
    const int64_t B = std::min(batch, S - first);
    pass.inputs[0].narrow(0, first, B).copy_(Embed(model, windows.narrow(0, first, B).to(model.device())));
  }
  for (int64_t l = 0; l < L; ++l) {
    const BlockSource::Held held = source.Hold(l);
    const Tensor input = pass.inputs[l], output = l + 1 < L ? pass.inputs[l + 1] : pass.output;
    for (int64_t first = 0; first < S; first += batch) {
      const Tensor rows = input.narrow(0, first, std::min(batch, S - first));  // [B, T, C]
      output.narrow(0, first, rows.size(0)).copy_(RunBlock(model, l, rows.to(model.device()), rope));
      LetGo(rows);
    }
  }
  return pass;
}

Tensor GradientOf(ForwardPass& pass, const Model& model, const Tensor& windows, int64_t batch, const TargetRule& rule) {
  const int64_t S = windows.size(0);
  std::optional<Progress> progress;
  if (S > batch) progress.emplace("gradients of logits", (S + batch - 1) / batch);
  for (int64_t first = 0; first < S; first += batch) {
    const int64_t B = std::min(batch, S - first);
    const Tensor rows = pass.output.narrow(0, first, B), ids = windows.narrow(0, first, B).to(model.device());
    const Tensor output = rows.to(model.device());
    rows.copy_(OutputGradient(model, output, TargetsOf(rule, model, output, ids, first)));
    LetGo(rows);
    if (progress) progress->Step();
  }
  return std::exchange(pass.output, Tensor());
}

void StreamGradients(const BlockSource& source, const Tensor& windows, int64_t batch, const std::vector<Site>& sites,
                     ForwardPass pass, const VisitGradients& visit, const TargetRule& rule) {
  const Model& model = source.model();
  const int64_t S = windows.size(0);
  const Rope rope = MakeRope(model.config, windows.size(1), model.device(), model.dtype());
  const Tensor output_gradient = GradientOf(pass, model, windows, batch, rule);
  Progress progress("gradients", model.config.L());
  for (int64_t l = model.config.L() - 1; l >= 0; --l) {
    const BlockSource::Held held = source.Hold(l);
    for (int64_t first = 0; first < S; first += batch) {
      const int64_t B = std::min(batch, S - first);
      const Tensor input = pass.inputs[l].narrow(0, first, B), gradient = output_gradient.narrow(0, first, B);
      const BlockGradients gradients =
          BackwardBlock(model, l, input.to(model.device()), gradient.to(model.device()), rope, sites);
      visit(l, first, gradients);
      gradient.copy_(gradients.input);
      LetGo(input);
      LetGo(gradient);
    }
    progress.Step();
  }
}

}  // namespace espalier
