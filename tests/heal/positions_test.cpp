// Training on a range of positions.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "espalier/core/error.h"
#include "espalier/heal/trainer.h"
#include "espalier/model/forward.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

HealOptions OneStep(int64_t first, int64_t last) {
  HealOptions options;
  options.batch = 4, options.length = 16, options.tokens = 4 * 16;
  options.learning_rate = 1e-3;
  options.validation_windows = 2;
  options.checkpoint_activations = false;
  options.first_position = first, options.last_position = last;
  return options;
}

double FirstLoss(int64_t first, int64_t last, double* held_out) {
  const TempFolder folder;
  const auto full = Registry<HealingMethod>::Create("full");
  const HealResult result =
      Heal(TinyModel(1), RandomIds(5, 6, 16, TinyShape().V), *full, OneStep(first, last), folder / "state.safetensors");
  *held_out = result.curve.validation_loss.front();
  return result.curve.loss.front();
}

TEST(LossPositions, AreThoseThatWereAskedForAndTheHeldOutLossIsOfAll) {
  // Six windows, two held out: the one step sees the other four, in whatever order.
  const at::NoGradGuard no_grad;
  const Model model = TinyModel(1);
  const at::Tensor ids = RandomIds(5, 6, 16, TinyShape().V);
  const at::Tensor log_probs = Logits(model, ids).log_softmax(-1).narrow(1, 0, 15);
  const at::Tensor nll = log_probs.gather(2, ids.narrow(1, 1, 15).unsqueeze(2)).squeeze(2).neg();  // [6, 15]
  const at::AutoGradMode recording(true);
  double held_out = 0;
  // Predictions 3 to 7: those that have seen so many tokens.
  EXPECT_NEAR(FirstLoss(3, 7, &held_out), nll.narrow(0, 0, 4).narrow(1, 2, 5).mean().item<double>(), 1e-5);
  EXPECT_NEAR(held_out, nll.narrow(0, 4, 2).mean().item<double>(), 1e-5);
  EXPECT_NEAR(FirstLoss(1, 0, &held_out), nll.narrow(0, 0, 4).mean().item<double>(), 1e-5);
}

TEST(LossPositions, OutsideTheWindowAreRefused) {
  double held_out = 0;
  EXPECT_THROW(FirstLoss(1, 16, &held_out), RecipeError);
  EXPECT_THROW(FirstLoss(8, 7, &held_out), RecipeError);
  EXPECT_THROW(FirstLoss(0, 7, &held_out), RecipeError);
}

}  // namespace
}  // namespace espalier
