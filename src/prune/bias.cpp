// FLAP's compensation, An et al. 2023, arXiv 2312.11983: removed inputs are replaced by their means, b' = b + W_R
// E[x_R]. The first token and spike tokens are kept apart by default: a head that parks attention there, or a neuron
// that makes a spike, has another mean on them than on all other positions, and one bias serves every position.
#include <ATen/ATen.h>

#include "espalier/prune/compensator.h"

namespace espalier {
namespace {

class Bias final : public Compensator {
 public:
  explicit Bias(bool all_tokens) : all_tokens_(all_tokens) {}
  bool AddsBias() const override { return true; }
  bool NeedsProducts() const override { return false; }
  Repair Fit(const Linear& dense, const SiteStatistics& site, const std::vector<int64_t>& kept) const override {
    const at::Tensor w = dense.weight.to(at::kDouble).cpu();  // [C, n]
    const at::Tensor columns = at::tensor(kept, at::kLong);
    const at::Tensor mean = all_tokens_ ? site.All().mean : site.ordinary.mean;
    const at::Tensor removed_mean = mean.index_fill(0, columns, 0);  // [n], zero where kept
    const at::Tensor constant = w.mv(removed_mean);                  // [C]
    return {w.index_select(1, columns), dense.bias.defined() ? constant + dense.bias.to(at::kDouble).cpu() : constant};
  }

 private:
  bool all_tokens_;
};

const bool kRegistered = Registry<Compensator>::Register(
    {"bias",
     "Replace removed inputs by their mean, folded into a bias; first and spike tokens apart",
     "FLAP, arXiv 2312.11983",
     {"moments"},
     {TextOption("tokens", "ordinary", "Whose mean: ordinary tokens, or also the first and spike tokens")
          .OneOf({"ordinary", "all"})}},
    [](const Options& options) -> std::unique_ptr<Compensator> {
      return std::make_unique<Bias>(options.Text("tokens") == "all");
    });

}  // namespace
}  // namespace espalier
