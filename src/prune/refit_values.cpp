#include "espalier/prune/refit_values.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/model/forward.h"
#include "espalier/model/precision.h"

namespace espalier {
namespace {

using at::Tensor;

class Walk {
 public:
  Walk(const Model& model, const RefitValuesData& data, Model& cut)
      : model_(model),
        data_(data),
        cut_(cut),
        rope_(MakeRope(model.config, data.windows.size(1), model.device(), model.dtype())),
        dense_(Embed(model, data.windows.to(model.device()))),
        pruned_(dense_.clone()) {}

  void Run() {
    Progress progress("refit values", model_.config.L());
    bool same = true;  // nothing before has changed the stream
    for (int64_t l = 0; l < model_.config.L(); ++l) {
      if (!same && cut_.config.blocks[static_cast<size_t>(l)].HasAttention()) Refit(l);
      Advance(model_, l, dense_);
      if (same && SameBlock(l)) {
        pruned_.copy_(dense_);
      } else {
        Advance(cut_, l, pruned_);
        same = false;
      }
      progress.Step();
    }
  }

 private:
  bool SameBlock(int64_t l) const {
    const Block &a = model_.blocks[static_cast<size_t>(l)], &b = cut_.blocks[static_cast<size_t>(l)];
    const auto same = [](const Tensor& x, const Tensor& y) {
      return x.defined() == y.defined() && (!x.defined() || x.is_same(y));
    };
    return std::ranges::all_of(kRoles, [&](Role role) {
      return same(a.At(role).weight, b.At(role).weight) && same(a.At(role).bias, b.At(role).bias);
    });
  }

  void Refit(int64_t l) {
    Linear& w_v = cut_.blocks[static_cast<size_t>(l)].attention.w_v;
    const int64_t C = model_.config.C;
    Tensor gram = at::zeros({C, C}, at::kDouble), cross = gram.clone();
    for (int64_t first = 0; first < dense_.size(0); first += data_.batch) {
      const int64_t B = std::min(data_.batch, dense_.size(0) - first);
      const Tensor h = dense_.narrow(0, first, B);
      const Tensor x = AttentionInput(model_, l, h).flatten(0, 1).to(at::kFloat);
      const Tensor y = AttentionInput(cut_, l, pruned_.narrow(0, first, B)).flatten(0, 1).to(at::kFloat);
      const Tensor outlier =
          OutlierTokens(h, h, data_.outlier_ratio).to(h.device()).flatten().unsqueeze(1);  // [B*T, 1]
      const Tensor weighted = at::where(outlier, y * static_cast<double>(h.size(1)), y);
      gram += weighted.t().matmul(y).to(at::kDouble).cpu();
      cross += (x - y).t().matmul(weighted).to(at::kDouble).cpu();
    }
    const double tokens = static_cast<double>(data_.windows.numel());
    gram /= tokens, cross /= tokens;
    gram.diagonal().add_(std::max(data_.ridge * gram.diagonal().mean().item<double>(), 1e-12));
    const auto [factor, info] = at::linalg_cholesky_ex(gram);
    const Tensor w = w_v.weight.to(at::kDouble).cpu();
    const Tensor fitted = w + w.matmul(at::cholesky_solve(cross.t(), factor).t());
    if (info.item<int>() != 0 || !fitted.isfinite().all().item<bool>())
      throw NumericError(
          fmt::format("block {}: w_v: what reaches it in the pruned model gives no finite refit at a ridge of {}; use "
                      "more calibration tokens, a larger ridge, or values: 0",
                      l, data_.ridge));
    w_v.weight = fitted.to(w_v.weight.options());
  }

  void Advance(const Model& model, int64_t l, Tensor& stream) const {
    const ProductsIn products(model.device(), data_.matmul);
    for (int64_t first = 0; first < stream.size(0); first += data_.batch) {
      const Tensor h = stream.narrow(0, first, std::min(data_.batch, stream.size(0) - first));
      h.copy_(RunBlock(model, l, h, rope_));
    }
  }

  const Model& model_;
  const RefitValuesData& data_;
  Model& cut_;
  Rope rope_;
  Tensor dense_, pruned_;  // [S, T, C] before the block at hand
};

}  // namespace

void RefitValues(const Model& model, const RefitValuesData& data, Model& cut) {
  if (cut.config.C != model.config.C)
    throw RecipeError(
        "prune.compensate.values: needs a residual stream of the dense width, and the plan cuts residual "
        "channels; use values: 0, or leave residual_channel out of prune.units");
  const at::NoGradGuard no_grad;
  Walk(model, data, cut).Run();
  CheckShapes(cut);
}

}  // namespace espalier
