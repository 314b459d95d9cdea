// Everything on another device than the CPU: by a fake one whose memory the CPU cannot read.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/core/json.h"
#include "espalier/heal/trainer.h"
#include "espalier/model/forward.h"
#include "support/fake_accelerator.h"
#include "support/tiny_run.h"

namespace espalier {
namespace {

using at::Tensor;

TEST(Device, OfAnotherKindGivesTheResultsOfTheCpu) {
  fake::Device();
  const TinyRun run;
  const std::string settings =
      "  healing: {path: " + run.Text().string() +
      "}\nprotect: [spike_producers, super_weights, sink_heads]\n"
      "prune:\n  units: [kv_group, ffn_channel]\n  score: obs\n  budget: {remove: 0.3}\n"
      "  allocate: {method: global, normalize: cost}\n  compensate: {method: least_squares, values: 0.1}\n"
      "heal: {method: full, tokens: 1024, batch: 4, length: 32, learning_rate: 0.001, validation_windows: 2, logits: "
      "1}\n"
      "evaluate:\n  - {suite: perplexity, data: " +
      run.Text().string() + ", label: text, preset: strided, window: 32, stride: 16, windows: 80}\nallow_leak: true\n";
  const auto on = [&](const std::string& device) {
    return run.Run(device, settings + "device: " + device + "\n", "evaluate");
  };
  const auto cpu = on("cpu"), other = on("fake");
  EXPECT_EQ(ReadJson(cpu / "plan.json")["blocks"], ReadJson(other / "plan.json")["blocks"]);
  const Json a = ReadJson(cpu / "heal.json"), b = ReadJson(other / "heal.json");
  ASSERT_EQ(a["loss"].size(), b["loss"].size());
  for (size_t i = 0; i < a["loss"].size(); ++i)
    EXPECT_NEAR(a["loss"][i].get<double>(), b["loss"][i].get<double>(), 1e-4 * a["loss"][i].get<double>());
  for (const char* model : {"dense", "pruned", "healed"}) {
    const auto perplexity = [&](const std::filesystem::path& folder) {
      for (const auto& file : std::filesystem::directory_iterator(folder / "evaluate" / model))
        if (file.path().extension() == ".json") return ReadJson(file.path())["metrics"][0]["value"].get<double>();
      return 0.0;
    };
    EXPECT_GT(perplexity(cpu), 1) << model;
    EXPECT_NEAR(perplexity(other), perplexity(cpu), 1e-4 * perplexity(cpu)) << model;
  }
}

TEST(Device, RefusesArgumentsOfTwo) {
  const Model model = CopyModel(TinyModel(1), at::kFloat, fake::Device());
  const Tensor ids = RandomIds(1, 2, 8, model.config.V);
  EXPECT_THROW(Logits(model, ids), c10::Error);
  const at::NoGradGuard no_grad;
  EXPECT_LT(RelativeDifference(Logits(model, ids.to(fake::Device())).cpu(), Logits(TinyModel(1), ids)), 1e-5);
}

TEST(Device, IsWaitedForTwiceATrainingStep) {
  // The loss and the gradient norm, which are logged. Counted between trainings of 5 and 15 steps.
  at::set_num_threads(1);
  const Model model = CopyModel(TinyModel(1), at::kFloat, fake::Device());
  const auto syncs = [&](int64_t steps) {
    HealOptions options;
    options.batch = 2;
    options.length = 16;
    options.tokens = steps * 32;
    options.learning_rate = 1e-3;
    options.validation_windows = 0;
    options.save_seconds = 1e9;
    const TempFolder folder;
    const int64_t before = fake::Count().Syncs();
    Heal(model, RandomIds(2, 12, 16, model.config.V), *Registry<HealingMethod>::Create("full"), options,
         folder / "state");
    return fake::Count().Syncs() - before;
  };
  EXPECT_EQ(syncs(15) - syncs(5), 20);
}

}  // namespace
}  // namespace espalier
