// The cut as it is.
#include <ATen/ATen.h>

#include "espalier/prune/compensator.h"

namespace espalier {
namespace {

class NoCompensation final : public Compensator {
 public:
  bool AddsBias() const override { return false; }
  Repair Fit(const Linear& dense, const RefitData&, const std::vector<int64_t>& kept) const override {
    const at::Tensor columns = at::tensor(kept, at::kLong).to(dense.weight.device());
    return {dense.weight.index_select(1, columns).to(at::kDouble),
            dense.bias.defined() ? dense.bias.to(at::kDouble) : at::Tensor()};
  }
};

const bool kRegistered = Registry<Compensator>::Register(
    {"none", "Keep the remaining weights as they are", "no method: what the others are measured against", {}, {}},
    [](const Options&) -> std::unique_ptr<Compensator> { return std::make_unique<NoCompensation>(); });

}  // namespace
}  // namespace espalier
