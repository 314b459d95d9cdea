#include "influence.h"

#include <ATen/ATen.h>

#include <limits>
#include <numbers>

#include "espalier/model/unit.h"
#include "sums.h"

namespace espalier {
namespace {

using at::Tensor;

// Cosine of what goes in and what comes out at each token: [B, T, C] twice -> [B, T] float64.
Tensor Cosine(const Tensor& in, const Tensor& out) {
  const Tensor a = in.to(at::kDouble), b = out.to(at::kDouble);
  const Tensor norms = a.square().sum(-1).mul_(b.square().sum(-1)).sqrt_();
  return ((a * b).sum(-1) / norms.clamp_min(std::numeric_limits<double>::min())).clamp_(-1, 1).cpu();
}

}  // namespace

void AddInfluence(const BlockTaps& taps, const Tensor& counted, NamedSums& sums) {
  const auto add = [&](UnitKind kind, Site in, Site out) {
    const Tensor cosine = Cosine(taps.At(in), taps.At(out)), angle = cosine.acos() / std::numbers::pi;
    const auto number = [](int64_t value) { return at::scalar_tensor(static_cast<double>(value), at::kDouble); };
    AddTo(sums, UnitKindName(kind),
          at::stack({counted.sum().to(at::kDouble), cosine.masked_select(counted).sum(),
                     angle.masked_select(counted).sum(), number(cosine.size(0)), angle.select(1, -1).sum()}));
  };
  add(UnitKind::kAttention, Site::kBlockInput, Site::kAttnResidual);
  add(UnitKind::kFfn, Site::kAttnResidual, Site::kBlockOutput);
  add(UnitKind::kBlock, Site::kBlockInput, Site::kBlockOutput);
}

}  // namespace espalier
