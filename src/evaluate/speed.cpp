// Prefill speed on this machine: tokens a second of the forward pass with the head applied to the last token.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "espalier/core/log.h"
#include "espalier/core/random.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

class Speed final : public Evaluator {
 public:
  Speed(int64_t length, int64_t repeats) : length_(length), repeats_(repeats) {}

  std::string Id() const override { return "speed"; }

  Results Run(const EvaluationInput& input) const override {
    const at::NoGradGuard no_grad;
    const at::Tensor ids = RandomIds(input.model.config.V).to(input.model.device());
    Progress progress(fmt::format("{} speed", input.model_name), repeats_ + 1);
    std::vector<double> rates;
    for (int64_t i = 0; i <= repeats_; ++i) {
      const auto start = std::chrono::steady_clock::now();
      const at::Tensor hidden = HiddenStates(input.model, ids);
      at::linear(hidden.slice(1, -1), input.model.Head()).sum().item<double>();  // waits for the device
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      if (i > 0) rates.push_back(static_cast<double>(length_) / seconds.count());  // the first one warms up
      progress.Step();
    }
    std::sort(rates.begin(), rates.end());
    const auto quantile = [&](double q) {
      return rates[static_cast<size_t>(q * static_cast<double>(rates.size() - 1) + 0.5)];
    };
    Results results;
    results.id = Id();
    results.suite = "speed";
    results.model = input.model_name;
    results.protocol = {{"batch", "1"},
                        {"length", std::to_string(length_)},
                        {"repeats", std::to_string(repeats_)},
                        {"warm_up", "1"},
                        {"dtype", std::string(DtypeName(input.model.dtype()))},
                        {"interval", "first and third quartile of the repeats"}};
    results.metrics.push_back(
        {"prefill_tokens_per_second", quantile(0.5), "tokens/s", repeats_, quantile(0.25), quantile(0.75), ""});
    return results;
  }

 private:
  at::Tensor RandomIds(int64_t V) const {
    std::vector<int64_t> ids;
    for (int64_t t = 0; t < length_; ++t)
      ids.push_back(static_cast<int64_t>(RandomBelow(static_cast<uint64_t>(V), 0, 0, static_cast<uint64_t>(t))));
    return at::tensor(ids, at::kLong).unsqueeze(0);
  }

  int64_t length_, repeats_;
};

const bool kRegistered =
    Registry<Evaluator>::Register({"speed",
                                   "Prefill tokens a second on this machine: median and quartiles of repeats",
                                   "ours",
                                   {},
                                   {IntOption("length", 1024, "Tokens of the prompt").Between(8, 1 << 20),
                                    IntOption("repeats", 5, "Timed repeats after one to warm up").Between(1, 1000)}},
                                  [](const Options& options) -> std::unique_ptr<Evaluator> {
                                    return std::make_unique<Speed>(options.Int("length"), options.Int("repeats"));
                                  });

}  // namespace
}  // namespace espalier
