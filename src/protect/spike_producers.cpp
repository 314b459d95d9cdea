// The FFN neurons that write a spike into the residual stream. On SmolLM2-135M zeroing two of 46,080 of them multiplies
// perplexity by 2.7, while the neuron that takes the spike away again is free to go: producers are protected, consumers
// only on request.
#include <fmt/format.h>

#include "espalier/protect/rule.h"

namespace espalier {
namespace {

class SpikeProducers final : public ProtectionRule {
 public:
  explicit SpikeProducers(bool consumers) : consumers_(consumers) {}

  std::vector<Protection> Protect(const ModelConfig&, const Phenomena& phenomena) const override {
    std::vector<Protection> protections;
    for (const SpikeNeuron& neuron : phenomena.neurons) {
      if (neuron.role == NeuronRole::kStepDown && !consumers_) continue;
      protections.push_back(
          {{neuron.block, UnitKind::kFfnChannel, neuron.index},
           "spike_producers",
           fmt::format(
               "{} neuron: input of w_down reaches {:.0f} and writes {:.0f} to residual channel {} at position {}",
               neuron.role == NeuronRole::kStepUp ? "step-up" : "step-down", neuron.activation, neuron.contribution,
               neuron.channel, neuron.position)});
    }
    return protections;
  }

 private:
  bool consumers_;
};

const bool kRegistered = Registry<ProtectionRule>::Register(
    {"spike_producers",
     "Neurons that create massive activations (step-up blocks)",
     "arXiv 2603.05498, section 3.1",
     {"phenomena"},
     {BoolOption("consumers", false, "Also protect the neurons that remove the spike again (step-down)")}},
    [](const Options& options) -> std::unique_ptr<ProtectionRule> {
      return std::make_unique<SpikeProducers>(options.Bool("consumers"));
    });

}  // namespace
}  // namespace espalier
