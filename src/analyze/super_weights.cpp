// The super-weight finder of Yu et al. 2024, arXiv 2411.07191: one pass shows where input and output of w_down peak;
// the weight at their crossing is zeroed and the pass repeated until the spike is gone.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <optional>
#include <utility>

#include "espalier/analyze/analyze.h"
#include "espalier/model/forward.h"

namespace espalier {
namespace {

constexpr int kMaxRounds = 8;  // Phi-3-mini, the richest published case, has six

class Strongest : public Observer {
 public:
  Strongest(const Model& model, double limit) : model_(model), limit_(limit) {}
  bool Wants(int64_t, Site site) const override { return site == Site::kFfnHidden || site == Site::kFfnOut; }

  void Observe(int64_t block, Site site, const at::Tensor& value) override {
    const Block& weights = model_.blocks[static_cast<size_t>(block)];
    if (site == Site::kFfnHidden) {
      input_ = Largest(value);
      // A norm behind w_down hides what it gives.
      if (weights.ffn_post_norm.defined()) Consider(block, Largest(weights.ffn.w_down.Apply(value)));
    } else if (!weights.ffn_post_norm.defined()) {
      Consider(block, Largest(value));
    }
  }

  std::optional<SuperWeight> found;

 private:
  struct Channel {
    int64_t index = 0;
    double largest = 0;
  };

  static Channel Largest(const at::Tensor& value) {
    const at::Tensor max = value.abs().flatten(0, 1).amax(0);  // over tokens: [n]
    const int64_t index = max.argmax().item<int64_t>();
    return {index, max[index].item<double>()};
  }

  void Consider(int64_t block, const Channel& output) {
    const Channel input = std::exchange(input_, {});  // a removed FFN has an output, its constant, and no input
    if (input.largest <= limit_ || output.largest <= limit_ || (found && output.largest <= found->output)) return;
    const at::Tensor& w_down = model_.blocks[static_cast<size_t>(block)].ffn.w_down.weight;
    found = SuperWeight{block,         output.index,   input.index,
                        input.largest, output.largest, w_down[output.index][input.index].item<double>()};
  }

  const Model& model_;
  double limit_;
  Channel input_;
};

}  // namespace

std::vector<SuperWeight> FindSuperWeights(const Model& model, const at::Tensor& window, double limit) {
  const at::NoGradGuard no_grad;
  Model probe = model;  // shares all tensors but the w_down that are changed below
  std::vector<SuperWeight> found;
  for (int round = 0; round < kMaxRounds; ++round) {
    Strongest strongest(probe, limit);
    HiddenStates(probe, window.to(model.device()), &strongest);
    if (!strongest.found || strongest.found->weight == 0) break;
    found.push_back(*strongest.found);
    at::Tensor& w_down = probe.blocks[static_cast<size_t>(strongest.found->block)].ffn.w_down.weight;
    w_down = w_down.clone();
    w_down[strongest.found->row][strongest.found->column] = 0;
  }
  return found;
}

}  // namespace espalier
