// Options of healing, and the schedule that follows from them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "espalier/comm/comm.h"
#include "espalier/core/error.h"
#include "espalier/heal/trainer.h"
#include "espalier/model/load.h"
#include "espalier/model/precision.h"

namespace espalier {

std::vector<OptionSpec> HealRecipeOptions() {
  const HealOptions d;
  return {
      IntOption("tokens", 200000, "Tokens to train on").AtLeast(1),
      IntOption("batch", d.batch, "Windows a step").Between(1, 1024),
      IntOption("micro_batch", d.micro_batch, "Windows that run together, their gradients summed; 0: the whole batch")
          .Between(0, 1024),
      IntOption("length", d.length, "Tokens a window").Between(8, 131072),
      RealOption("learning_rate", 5e-4, "Peak learning rate").Between(0, 1),
      TextOption("schedule", d.schedule, "Learning rate after the warm-up: cosine, linear, or wsd: constant, then down")
          .OneOf({"cosine", "linear", "wsd"}),
      RealOption("decay_share", d.decay_share, "wsd only. Share of the steps in which it goes down").Between(0, 1),
      RealOption("final_share", d.final_share, "Learning rate at the end, as a share of the peak").Between(0, 1),
      RealOption("warmup_share", d.warmup_share, "Share of the steps with rising learning rate").Between(0, 1),
      RealOption("weight_decay", d.weight_decay, "Decoupled weight decay").Between(0, 1),
      RealOption("clip", d.clip, "Largest gradient norm").AtLeast(1e-6),
      IntOption("validation_windows", d.validation_windows, "Windows held out of each healing text to watch the loss")
          .Between(0, 4096),
      BoolOption("checkpoint_activations", d.checkpoint_activations,
                 "Compute activations again in the backward pass: less memory, 1.3 times the time"),
      IntOption("validations", d.validations, "How often the held-out loss is measured after the start")
          .Between(1, 10000),
      TextOption("keep", d.keep, "Which weights stay: the last ones, or those of the best held-out loss")
          .OneOf({"last", "best"}),
      IntOption("patience", d.patience,
                "Stop when so many validations in a row bring no better held-out loss; 0: never")
          .Between(0, 10000),
      IntOption(
          "retries", d.retries,
          "When the loss is not finite or explodes, go back to the last checkpoint and on at half the rate, so often")
          .Between(0, 20),
      RealOption("save_seconds", d.save_seconds, "Seconds between checkpoints of an unfinished healing").AtLeast(0),
      IntOption("checkpoints", d.checkpoints,
                "How many of the last checkpoints stay on disk until healing ends, in case one is damaged or bad")
          .Between(1, 100),
      RealOption("next_token", d.token.next_token, "Weight of the next-token loss").AtLeast(0),
      RealOption("logits", d.token.logits,
                 "Weight of the divergence from the dense model's predictions (distillation, arXiv 1503.02531)")
          .AtLeast(0),
      RealOption("temperature", d.token.temperature, "logits: of both predictions").Between(0.01, 100),
      IntOption("top", d.token.top,
                "logits: compare the dense model's so many likeliest tokens, and all others together; 0: every token")
          .Between(0, 1 << 20),
      BoolOption(
          "teacher_cache", d.teacher_cache,
          "top: keep those of each window on disk until healing ends; pays when the text is seen more than once"),
      TextOption("matmul", std::string(DtypeName(d.matmul)),
                 "What products are computed in: float32, bfloat16 (weights and optimizer stay float32), or auto: "
                 "bfloat16 where the device has instructions for it")
          .OneOf(MatmulNames()),
      RealOption("hidden", d.hidden, "Weight of the relative squared error of the dense model's last hidden states")
          .AtLeast(0),
      BoolOption("shard_optimizer", d.shard_optimizer,
                 "Of several processes, each holds the optimizer's sums of its part of the parameters only"),
      IntOption("local_tokens", d.local_tokens,
                "First fit each block alone to the dense model's block, on so many tokens of the text; 0: not")
          .AtLeast(0),
      RealOption("local_rate", d.local_rate, "local_tokens: peak learning rate of the blocks").Between(0, 1)};
}

bool HealOptions::IsSharded() const {
  return shard_optimizer && comm != nullptr && comm->size() > 1;
}

HealOptions HealOptionsFrom(const Options& options, uint64_t seed, c10::Device device) {
  HealOptions heal;
  heal.tokens = options.Int("tokens");
  heal.batch = options.Int("batch");
  heal.micro_batch = options.Int("micro_batch");
  heal.length = options.Int("length");
  heal.learning_rate = options.Real("learning_rate");
  heal.final_share = options.Real("final_share");
  heal.warmup_share = options.Real("warmup_share");
  heal.weight_decay = options.Real("weight_decay");
  heal.clip = options.Real("clip");
  heal.validation_windows = options.Int("validation_windows");
  heal.checkpoint_activations = options.Bool("checkpoint_activations");
  heal.save_seconds = options.Real("save_seconds");
  heal.checkpoints = options.Int("checkpoints");
  heal.validations = options.Int("validations");
  heal.keep = options.Text("keep");
  heal.patience = options.Int("patience");
  heal.retries = options.Int("retries");
  if (heal.validation_windows == 0 && (heal.keep == "best" || heal.patience > 0))
    throw RecipeError("heal: keep: best and patience watch the held-out loss; expected validation_windows above 0");
  heal.schedule = options.Text("schedule");
  heal.decay_share = options.Real("decay_share");
  heal.token = {options.Real("next_token"), options.Real("logits"), options.Real("temperature"), options.Int("top")};
  heal.hidden = options.Real("hidden");
  heal.local_tokens = options.Int("local_tokens");
  heal.local_rate = options.Real("local_rate");
  heal.shard_optimizer = options.Bool("shard_optimizer");
  heal.matmul = ParseMatmul(options.Text("matmul"), device);
  heal.teacher_cache = options.Bool("teacher_cache");
  if (heal.teacher_cache && (heal.token.top == 0 || heal.token.logits == 0 || heal.hidden > 0))
    throw RecipeError(
        "heal.teacher_cache: keeps the likeliest tokens alone; expected logits and top above 0 (64 is usual), and "
        "hidden: 0");
  if (heal.token.logits == 0 && (heal.token.top > 0 || heal.token.temperature != 1))
    throw RecipeError("heal: top and temperature shape the divergence from the dense model; expected logits above 0");
  if (heal.token.next_token == 0 && !heal.LearnsFromTeacher())
    throw RecipeError("heal: next_token, logits and hidden are all 0; expected something to learn");
  heal.seed = seed;
  return heal;
}

double LearningRate(const HealOptions& options, int64_t step, int64_t steps) {
  const double warmup = options.warmup_share * static_cast<double>(steps);
  const double at = static_cast<double>(step);
  if (at < warmup) return options.learning_rate * (at + 1) / (warmup + 1);
  const double all = static_cast<double>(steps);
  const double start = options.schedule == "wsd" ? std::max(warmup, all * (1 - options.decay_share)) : warmup;
  const double progress = std::max(0.0, (at - start) / std::max(1.0, all - start));
  const double share = options.schedule == "cosine" ? 0.5 * (1 + std::cos(std::numbers::pi * progress)) : 1 - progress;
  return options.learning_rate * (options.final_share + (1 - options.final_share) * share);
}

}  // namespace espalier
