#include "espalier/prune/residue.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "espalier/calibrate/calibrate.h"
#include "espalier/calibrate/cholesky.h"
#include "espalier/calibrate/input_system.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/model/forward.h"
#include "espalier/model/precision.h"
#include "espalier/prune/cut.h"

namespace espalier {
namespace {

using at::Tensor;

// Where the activation is 1: SiLU x / (1 + e^-x), GELU x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
double OpenGate(Activation activation) {
  return activation == Activation::kSilu ? 1.278464542761074 : 1.1446303090228;
}

Tensor Index(const std::vector<int64_t>& indices) {
  return at::tensor(indices, at::kLong);
}

Tensor Solved(const Tensor& system, const Tensor& right, int64_t l) {
  return at::cholesky_solve(right, CholeskyFactor(system, fmt::format("block {}: residue", l), "inputs",
                                                  "use more calibration tokens or a larger ridge"));
}

// The moments of one FFN's hidden channels and inputs together, solved.
class Regression {
 public:
  // `site`: of [h, x], F + C of them; w: dense w_down [C, F] float64.
  Regression(const SiteStatistics& site, Tensor w, double ridge, int64_t block)
      : block_(block), F_(w.size(1)), w_(std::move(w)), mean_(site.counted.mean), system_(InputSystem(site, 0)) {
    const Tensor variance = site.counted.Variance();
    system_.diagonal().narrow(0, 0, F_).add_(ridge * variance.narrow(0, 0, F_).mean().item<double>());
    const int64_t C = system_.size(0) - F_;
    system_.diagonal().narrow(0, F_, C).add_(ridge * variance.narrow(0, F_, C).mean().item<double>());
    inputs_ = at::arange(F_, F_ + C);
  }

  // What the removal of each of `kept` costs after a refit of the others, [kept]: |w_i|^2 / (S^-1)_ii.
  Tensor Costs(const Tensor& kept, const Tensor& refitted) const {
    const Tensor inverse = Solved(Part(kept, kept), at::eye(kept.numel(), at::kDouble), block_);
    return refitted.square().sum(0) / inverse.diagonal();
  }

  struct Fit {
    Tensor down, bias;      // [C, P], [C] without the dense bias
    Tensor write, read;     // [C, r], [r, C]: the linear channels
    double missing, found;  // variance of the missing output, and what of it is explained
  };
  Fit Solve(const Tensor& stays, const Tensor& goes, int64_t rank) const {
    const Tensor w_goes = w_.index_select(1, goes);
    const Tensor missing = Part(stays, goes).matmul(w_goes.t());                       // [P, C]
    const Tensor by_stays = Solved(Part(stays, stays), Part(stays, inputs_), block_);  // [P, C]
    const Tensor partial = Part(inputs_, inputs_) - Part(inputs_, stays).matmul(by_stays);
    const Tensor left = Part(inputs_, goes).matmul(w_goes.t()) - by_stays.t().matmul(missing);  // [C, C]
    const Tensor full = Solved(partial, left, block_);                                          // [C in, C out]
    const auto [values, vectors] = at::linalg_eigh(left.t().matmul(full));
    Fit fit;
    fit.write = vectors.narrow(1, vectors.size(1) - rank, rank);  // ascending: the last are the largest
    fit.read = fit.write.t().matmul(full.t());
    const Tensor change =
        Solved(Part(stays, stays), missing - Part(stays, inputs_).matmul(fit.read.t()).matmul(fit.write.t()), block_)
            .t();  // [C, P]
    fit.down = w_.index_select(1, stays) + change;
    fit.bias = w_goes.mv(mean_.index_select(0, goes)) - change.mv(mean_.index_select(0, stays)) -
               fit.write.mv(fit.read.mv(mean_.index_select(0, inputs_)));
    fit.missing = w_goes.matmul(Part(goes, goes)).mul(w_goes).sum().item<double>();
    fit.found = missing.mul(Solved(Part(stays, stays), missing, block_)).sum().item<double>() +
                values.narrow(0, values.size(0) - rank, rank).sum().item<double>();
    return fit;
  }

 private:
  Tensor Part(const Tensor& rows, const Tensor& columns) const {
    return system_.index_select(0, rows).index_select(1, columns);
  }

  int64_t block_, F_;
  Tensor w_, mean_, system_, inputs_;
};

class Walk {
 public:
  Walk(const Model& model, const Plan& plan, const ResidueData& data, Model& cut)
      : model_(model),
        plan_(plan),
        data_(data),
        cut_(cut),
        rope_(MakeRope(model.config, data.windows.size(1), model.device(), model.dtype())),
        hidden_(Embed(model, data.windows.to(model.device()))) {}

  double Run() {
    Progress progress("residue", model_.config.L());
    for (int64_t l = 0; l < model_.config.L(); ++l) {
      Visit(l);
      progress.Step();
    }
    return missing_ > 0 ? found_ / missing_ : 1;
  }

 private:
  // One pass of the dense block, with the moments of its FFN where the cut one lost channels.
  void Visit(int64_t l) {
    const int64_t F = model_.config.blocks[Slot(l)].F, left = cut_.config.blocks[Slot(l)].F;
    const bool lost = left > 0 && left < F;
    SiteStatistics site;
    if (lost) site = {Moments::Empty(F + model_.config.C, true), Moments::Empty(F + model_.config.C, false)};
    for (int64_t first = 0; first < hidden_.size(0); first += data_.batch) {
      const Tensor h = hidden_.narrow(0, first, std::min(data_.batch, hidden_.size(0) - first));
      BlockTaps taps({Site::kFfnNorm, Site::kFfnHidden});
      Tensor output;
      {
        const ProductsIn rounded(model_.device(), data_.matmul);
        output = RunBlock(model_, l, h, rope_, &taps);
      }
      if (lost) {
        const Tensor outlier = OutlierTokens(h, output, data_.outlier_ratio);
        AddTokens(site, at::cat({taps.At(Site::kFfnHidden), taps.At(Site::kFfnNorm)}, 2),
                  TokenWeights(data_.tokens, outlier, output, model_.config.norm_epsilon), first);
      }
      h.copy_(output);
    }
    Linear& gate = cut_.blocks[Slot(l)].ffn.w_gate;
    if (left > 0 && !gate.bias.defined()) gate.bias = at::zeros({left}, gate.weight.options());
    if (lost) Replace(l, site);
  }

  void Replace(int64_t l, const SiteStatistics& site) {
    const FeedForward& dense = model_.blocks[Slot(l)].ffn;
    FeedForward& ffn = cut_.blocks[Slot(l)].ffn;
    const Regression regression(site, dense.w_down.weight.to(at::kDouble).cpu(), data_.ridge, l);
    const std::vector<int64_t> kept = KeptColumns(model_, plan_, l, Role::kDown);
    const std::vector<int64_t> places = Cheapest(l, kept, regression.Costs(Index(kept), Double(ffn.w_down.weight)));
    std::vector<int64_t> stays, stay_places, goes;
    for (int64_t channel = 0, place = 0; channel < dense.w_down.weight.size(1); ++channel) {
      const bool stood = place < std::ssize(kept) && kept[static_cast<size_t>(place)] == channel;
      if (stood && !std::ranges::binary_search(places, place))
        stays.push_back(channel), stay_places.push_back(place);
      else
        goes.push_back(channel);
      if (stood) ++place;
    }
    const Regression::Fit fit = regression.Solve(Index(stays), Index(goes), data_.rank);
    missing_ += fit.missing, found_ += fit.found;
    Write(l, fit, Index(stay_places), Index(places));
  }

  // Places among `kept` of the channels that give way, ascending.
  std::vector<int64_t> Cheapest(int64_t l, const std::vector<int64_t>& kept, const Tensor& costs) const {
    std::set<int64_t> held;
    for (const ProtectedUnit& unit : plan_.protected_units)
      if (unit.unit.block == l && unit.unit.kind == UnitKind::kFfnChannel) held.insert(unit.unit.index);
    const Tensor order = costs.argsort();
    std::vector<int64_t> places;
    for (int64_t i = 0; i < order.numel() && std::ssize(places) < data_.rank; ++i) {
      const auto place = order[i].item<int64_t>();
      if (!held.contains(kept[static_cast<size_t>(place)])) places.push_back(place);
    }
    if (std::ssize(places) < data_.rank || std::ssize(places) == std::ssize(kept))
      throw RecipeError(
          fmt::format("prune.compensate.residue: expected more than {} unprotected FFN channels left in every block "
                      "that loses some, block {} keeps {} of which {} are protected; use a smaller residue",
                      data_.rank, l, kept.size(), held.size()));
    std::ranges::sort(places);
    return places;
  }

  void Write(int64_t l, const Regression::Fit& fit, const Tensor& stays, const Tensor& linear) {
    const FeedForward& dense = model_.blocks[Slot(l)].ffn;
    FeedForward& ffn = cut_.blocks[Slot(l)].ffn;
    const auto as = [](const Tensor& value, const Tensor& like) { return value.to(like.options()); };
    const Tensor at = linear.to(model_.device());
    // Read and write of a channel are equally large: neither is lost in a narrower type.
    const Tensor balance = (fit.read.norm(2, 1) + 1e-30).sqrt();  // [r]; columns of `write` have norm 1
    Tensor down = at::empty_like(ffn.w_down.weight);
    down.index_copy_(1, stays.to(model_.device()), as(fit.down, down));
    down.index_copy_(1, at, as(fit.write * balance, down));
    Tensor bias = fit.bias;
    if (dense.w_down.bias.defined()) bias = bias + Double(dense.w_down.bias);
    ffn.w_down.weight = down;
    ffn.w_down.bias = as(bias, down);
    ffn.w_gate.weight = ffn.w_gate.weight.index_fill(0, at, 0);
    ffn.w_gate.bias = ffn.w_gate.bias.index_fill(0, at, OpenGate(model_.config.activation));
    ffn.w_up.weight = ffn.w_up.weight.index_copy(0, at, as(fit.read / balance.unsqueeze(1), down));
    if (ffn.w_up.bias.defined()) ffn.w_up.bias = ffn.w_up.bias.index_fill(0, at, 0);
    if (!down.isfinite().all().item<bool>() || !ffn.w_up.weight.isfinite().all().item<bool>())
      throw NumericError(fmt::format("block {}: residue: weights are not finite after the refit", l));
  }

  static Tensor Double(const Tensor& value) { return value.to(at::kDouble).cpu(); }
  static size_t Slot(int64_t l) { return static_cast<size_t>(l); }

  const Model& model_;
  const Plan& plan_;
  const ResidueData& data_;
  Model& cut_;
  Rope rope_;
  Tensor hidden_;  // [S, T, C] before the block at hand, of the dense model
  double missing_ = 0, found_ = 0;
};

}  // namespace

double AddResidue(const Model& model, const Plan& plan, const ResidueData& data, Model& cut) {
  if (cut.config.C != model.config.C)
    throw RecipeError(
        "prune.compensate.residue: needs a residual stream of the dense width, and the plan cuts residual channels; "
        "use residue: 0, or leave residual_channel out of prune.units");
  for (const Block& block : model.blocks)
    if (block.ffn.w_down.defined() && !block.ffn.w_gate.defined())
      throw RecipeError("prune.compensate.residue: needs FFNs with a gate, which this model has not; use residue: 0");
  const at::NoGradGuard no_grad;
  const double explained = Walk(model, plan, data, cut).Run();
  CheckShapes(cut);
  return explained;
}

}  // namespace espalier
