// Full fine-tuning of the blocks; the embedding (and a tied head) on request.
#include <ATen/ATen.h>

#include "espalier/heal/method.h"

namespace espalier {
namespace {

class Full final : public HealingMethod {
 public:
  explicit Full(bool embedding) : embedding_(embedding) {}

  std::vector<Trainable> Attach(Model& model, uint64_t) const override {
    std::vector<Trainable> trainables;
    for (const NamedTensorRef& ref : TensorsOf(model)) {
      if (!embedding_ && (ref.name == "embedding" || ref.name == "head")) continue;
      trainables.push_back({ref.name, ref.tensor->requires_grad_(true)});
    }
    return trainables;
  }

  void Merge(Model& model) const override { DetachAll(model); }

 private:
  bool embedding_;
};

const bool kRegistered =
    Registry<HealingMethod>::Register({"full",
                                       "Every weight, bias and norm of the blocks",
                                       "plain fine-tuning; optimizer: AdamW, arXiv 1711.05101",
                                       {},
                                       {BoolOption("embedding", false, "Also train the embedding and the head")}},
                                      [](const Options& options) -> std::unique_ptr<HealingMethod> {
                                        return std::make_unique<Full>(options.Bool("embedding"));
                                      });

}  // namespace
}  // namespace espalier
