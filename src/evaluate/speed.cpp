// Speed on this machine, and what the model takes: tokens a second of a prompt and of generation, one text at a time.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "espalier/core/log.h"
#include "espalier/core/memory.h"
#include "espalier/core/random.h"
#include "espalier/evaluate/evaluator.h"
#include "espalier/model/kv_cache.h"
#include "espalier/model/load.h"
#include "espalier/plan/cost.h"

namespace espalier {
namespace {

class Speed final : public Evaluator {
 public:
  explicit Speed(const Options& options)
      : length_(options.Int("length")), decode_(options.Int("decode")), repeats_(options.Int("repeats")) {}

  std::string Id() const override { return "speed"; }
  std::vector<std::string> Figures(bool) const override {
    return {"prefill_tokens_per_second", "decode_tokens_per_second", "parameters", "bytes",
            "kv_bytes_per_token",        "macs_per_token",           "peak_memory"};
  }

  Results Run(const EvaluationInput& input) const override {
    const at::NoGradGuard no_grad;
    ResetPeakMemory();
    const at::Tensor ids = RandomIds(input.model.config.V).to(input.model.device());
    Progress progress(fmt::format("{} speed", input.model_name), repeats_ + 1);
    std::vector<double> prefill, decode;
    for (int64_t i = 0; i <= repeats_; ++i) {
      KvCache cache(input.model);
      at::Tensor hidden;
      const double prompt = Seconds(hidden, [&] { hidden = Prefill(input.model, ids, cache); });
      const double generation =
          Seconds(hidden, [&] { hidden = Continue(input.model, hidden, decode_, {}, cache).to(at::kFloat); });
      if (i > 0) {  // the first one warms up
        prefill.push_back(static_cast<double>(length_) / prompt);
        decode.push_back(static_cast<double>(decode_) / generation);
      }
      progress.Step();
    }
    Results results;
    results.id = Id();
    results.suite = "speed";
    results.model = input.model_name;
    results.protocol = {{"batch", "1"},
                        {"length", std::to_string(length_)},
                        {"decode", std::to_string(decode_)},
                        {"repeats", std::to_string(repeats_)},
                        {"warm_up", "1"},
                        {"threads", std::to_string(at::get_num_threads())},
                        {"dtype", std::string(DtypeName(input.model.dtype()))},
                        {"interval", "first and third quartile of the repeats"}};
    AddRate("prefill_tokens_per_second", prefill, results);
    AddRate("decode_tokens_per_second", decode, results);
    AddSizes(input.model, results);
    return results;
  }

 private:
  // Waits for the device: `result` is read afterwards.
  template <class Work>
  static double Seconds(const at::Tensor& result, const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    result.sum().item<double>();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  void AddRate(const std::string& name, std::vector<double> rates, Results& results) const {
    std::sort(rates.begin(), rates.end());
    const auto quantile = [&](double q) {
      return rates[static_cast<size_t>(q * static_cast<double>(rates.size() - 1) + 0.5)];
    };
    results.metrics.push_back({name, quantile(0.5), "tokens/s", repeats_, quantile(0.25), quantile(0.75), ""});
  }

  static void AddSizes(const Model& model, Results& results) {
    const Cost cost = DenseCost(model);
    const auto add = [&](const std::string& name, int64_t value, const std::string& unit) {
      results.metrics.push_back({name, static_cast<double>(value), unit, 1, {}, {}, ""});
    };
    add("parameters", cost.total_parameters, "");
    add("bytes", cost.bytes, "bytes");
    add("kv_bytes_per_token", cost.kv_bytes, "bytes");
    add("macs_per_token", cost.macs, "");
    add("peak_memory", PeakMemory(), "bytes");  // of the process, other models included
  }

  at::Tensor RandomIds(int64_t V) const {
    std::vector<int64_t> ids;
    for (int64_t t = 0; t < length_; ++t)
      ids.push_back(static_cast<int64_t>(RandomBelow(static_cast<uint64_t>(V), 0, 0, static_cast<uint64_t>(t))));
    return at::tensor(ids, at::kLong).unsqueeze(0);
  }

  int64_t length_, decode_, repeats_;
};

const bool kRegistered = Registry<Evaluator>::Register(
    {"speed",
     "Tokens a second of a prompt and of generation on this machine (median, quartiles), and sizes",
     "ours",
     {},
     {IntOption("length", 1024, "Tokens of the prompt").Between(8, 1 << 20),
      IntOption("decode", 32, "Tokens generated after it").Between(1, 1 << 16),
      IntOption("repeats", 5, "Timed repeats after one to warm up").Between(1, 1000)}},
    [](const Options& options) -> std::unique_ptr<Evaluator> { return std::make_unique<Speed>(options); });

}  // namespace
}  // namespace espalier
