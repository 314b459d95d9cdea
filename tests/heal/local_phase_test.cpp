#include "../../src/heal/local_phase.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "espalier/core/error.h"
#include "espalier/model/forward.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kLength = 16;

HealOptions Local(int64_t steps) {
  HealOptions options;
  options.batch = 2;
  options.length = kLength;
  options.local_tokens = steps * options.batch * kLength;
  options.local_rate = 1e-2;
  options.tokens = options.local_tokens;
  options.validation_windows = 2;
  return options;
}

// A dense model and one whose blocks 1 and 2 lost what a block needs.
class FittingBlocks : public testing::Test {
 protected:
  FittingBlocks() {
    at::set_num_threads(1);
    damaged_ = CopyModel(dense_, at::kFloat, at::kCPU);
    const at::NoGradGuard no_grad;
    damaged_.blocks[1].ffn.w_down.weight.mul_(0.5);
    damaged_.blocks[2].ffn.w_up.weight.mul_(0.5);
  }
  ~FittingBlocks() override { at::set_num_threads(threads_); }

  // Of every block alone, each on what the blocks before it give, by definition.
  std::vector<double> Errors(const Model& model, const Tensor& ids) const {
    const at::NoGradGuard no_grad;
    const Rope rope = MakeRope(model.config, kLength, at::kCPU, at::kFloat);
    Tensor t = Embed(dense_, ids), y = Embed(model, ids);
    std::vector<double> errors;
    for (int64_t l = 0; l < model.config.L(); ++l) {
      t = RunBlock(dense_, l, t, rope), y = RunBlock(model, l, y, rope);
      errors.push_back(((y - t).square().sum(-1) / t.square().sum(-1)).mean().item<double>());
    }
    return errors;
  }

  int threads_ = at::get_num_threads();
  TempFolder folder_;
  Model dense_ = TinyModel(1), damaged_;
  Tensor windows_ = RandomIds(3, 40, kLength, dense_.config.V);
};

TEST_F(FittingBlocks, LowersTheErrorOfEachAndLeavesWhatIsRightAlone) {
  Model model = CopyModel(damaged_, at::kFloat, at::kCPU);
  const auto method = Registry<HealingMethod>::Create("full");
  const std::vector<Trainable> trainables = method->Attach(model, 0);
  const LocalErrors errors =
      FitBlocks(dense_, model, trainables, windows_, Local(20), Checkpoints(folder_ / "blocks", 1));
  method->Merge(model);
  const std::vector<double> before = Errors(damaged_, windows_), after = Errors(model, windows_);
  ASSERT_EQ(errors.after.size(), after.size());
  EXPECT_EQ(errors.before[0], 0);
  EXPECT_TRUE(at::equal(model.blocks[0].ffn.w_down.weight, dense_.blocks[0].ffn.w_down.weight));
  EXPECT_NEAR(errors.before[1], before[1], 1e-5 * before[1]);
  for (size_t l = 1; l < after.size(); ++l) {
    EXPECT_NEAR(errors.after[l], after[l], 1e-4 * after[l]) << l;
    EXPECT_LT(after[l], 0.5 * before[l]) << l;
  }
}

TEST_F(FittingBlocks, GoesOnBitwiseFromTheBlocksThatAreDone) {
  const HealOptions options = Local(4);
  const auto method = Registry<HealingMethod>::Create("lora");
  const auto fit = [&](const std::filesystem::path& state) {
    Model model = CopyModel(damaged_, at::kFloat, at::kCPU);
    const std::vector<Trainable> trainables = method->Attach(model, 0);
    FitBlocks(dense_, model, trainables, windows_, options, Checkpoints(state, 1));
    method->Merge(model);
    return model;
  };
  const Model whole = fit(folder_ / "whole");
  // What a run leaves that was killed in block 2: the later blocks as they started.
  NamedTensors state = LoadTensors(folder_ / "whole");
  Model start = CopyModel(damaged_, at::kFloat, at::kCPU);
  for (const Trainable& trainable : method->Attach(start, 0))
    if (!trainable.name.starts_with("block0.") && !trainable.name.starts_with("block1."))
      state.at("parameter." + trainable.name) = trainable.parameter.detach();
  for (const char* name : {"before", "after"}) state.at(name) = state.at(name).narrow(0, 0, 2);
  SaveTensors(folder_ / "killed", state);
  EXPECT_TRUE(BitwiseEqual(fit(folder_ / "killed"), whole));
}

TEST_F(FittingBlocks, ComesBeforeTheTrainingOfAll) {
  HealOptions options = Local(10);
  options.learning_rate = 0;  // nothing more is learned
  const HealResult healed =
      Heal(damaged_, windows_, *Registry<HealingMethod>::Create("full"), options, folder_ / "state", &dense_);
  EXPECT_LT(Errors(healed.model, windows_).back(), 0.5 * Errors(damaged_, windows_).back());
  EXPECT_EQ(healed.curve.local_before.size(), 3u);
  EXPECT_FALSE(std::filesystem::exists(BlocksState(folder_ / "state")));
}

TEST_F(FittingBlocks, SaysWhenTheTextIsTooShort) {
  const HealOptions options = Local(30);  // 60 windows of 38
  EXPECT_NE(MessageOf([&] {
              Heal(damaged_, windows_, *Registry<HealingMethod>::Create("full"), options, folder_ / "state", &dense_);
            }).find("make 30 steps of 2 windows, and the text has 38 windows"),
            std::string::npos);
}

}  // namespace
}  // namespace espalier
