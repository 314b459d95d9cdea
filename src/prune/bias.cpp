// FLAP's compensation, An et al. 2023, arXiv 2312.11983: removed inputs are replaced by their means, b' = b + W_R
// E[x_R], over the counted tokens. A head that parks attention on the first token, or a neuron that makes a spike, has
// another mean there than on all other positions, and one bias serves every position: leave those tokens out
// (data.calibration.tokens).
#include <ATen/ATen.h>

#include "espalier/prune/compensator.h"

namespace espalier {
namespace {

class Bias final : public Compensator {
 public:
  bool AddsBias() const override { return true; }
  Repair Fit(const Linear& dense, const RefitData& data, const std::vector<int64_t>& kept) const override {
    const at::Tensor w = dense.weight.to(at::kDouble).cpu();  // [C, n]
    const at::Tensor columns = at::tensor(kept, at::kLong);
    const at::Tensor removed_mean = data.inputs.counted.mean.index_fill(0, columns, 0);  // [n], zero where kept
    at::Tensor constant = w.mv(removed_mean);                                            // [C]
    if (data.shift) constant = constant + data.shift->mean;
    return {w.index_select(1, columns), dense.bias.defined() ? constant + dense.bias.to(at::kDouble).cpu() : constant};
  }
};

const bool kRegistered = Registry<Compensator>::Register(
    {"bias",
     "Replace removed inputs by their mean over the counted tokens, folded into a bias",
     "FLAP, arXiv 2312.11983",
     {"moments"},
     {}},
    [](const Options&) -> std::unique_ptr<Compensator> { return std::make_unique<Bias>(); });

}  // namespace
}  // namespace espalier
