#include "espalier/heal/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <thread>
#include <tuple>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/log.h"
#include "espalier/core/signals.h"
#include "espalier/io/tensors.h"
#include "espalier/model/forward.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kLength = 16;

HealOptions Short(int64_t steps) {
  HealOptions options;
  options.batch = 4;
  options.length = kLength;
  options.tokens = steps * options.batch * options.length;
  options.learning_rate = 1e-2;
  options.validation_windows = 4;
  options.save_seconds = 1e9;
  options.seed = 7;
  return options;
}

// Text with something to learn: each token is followed by the next one most of the time.
Tensor Text(uint64_t seed, int64_t windows) {
  Tensor ids = RandomIds(seed, windows, kLength, TinyShape().V);
  for (int64_t t = 1; t < kLength; ++t)
    if (t % 4 != 0) ids.select(1, t).copy_((ids.select(1, t - 1) + 1) % TinyShape().V);
  return ids;
}

// Threads that wait for each other over 16 channels take a hundred times as long as one alone.
struct OneThread {
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before); }
  int before = at::get_num_threads();
};

HealResult HealTiny(const std::string& method, const HealOptions& options, const std::filesystem::path& state) {
  const OneThread one;
  return Heal(TinyModel(1), Text(1, 24), *Registry<HealingMethod>::Create(method), options, state);
}

TEST(LearningRate, OfOtherSchedulesFollowsThemWorkedByHand) {
  HealOptions options = Short(10);
  options.learning_rate = 1;
  options.warmup_share = 0;
  options.final_share = 0.2;
  options.schedule = "linear";
  EXPECT_DOUBLE_EQ(LearningRate(options, 0, 10), 1);
  EXPECT_DOUBLE_EQ(LearningRate(options, 5, 10), 0.6);
  options.schedule = "wsd";
  options.decay_share = 0.4;  // steps 6 to 9
  EXPECT_DOUBLE_EQ(LearningRate(options, 5, 10), 1);
  EXPECT_DOUBLE_EQ(LearningRate(options, 6, 10), 1);
  EXPECT_DOUBLE_EQ(LearningRate(options, 8, 10), 0.6);
}

TEST(Heal, InPartsOfABatchIsTheSameUpToRounding) {
  const TempFolder folder;
  HealOptions options = Short(6);
  const HealResult whole = HealTiny("full", options, folder / "a");
  options.micro_batch = 3;  // of 4 windows: 3 and 1
  const HealResult parts = HealTiny("full", options, folder / "b");
  for (size_t i = 0; i < whole.curve.loss.size(); ++i) EXPECT_NEAR(whole.curve.loss[i], parts.curve.loss[i], 1e-4) << i;
  EXPECT_FALSE(BitwiseEqual(whole.model, TinyModel(1)));
}

TEST(Heal, TowardsTheTeachersStatesDoesNotDependOnTheParts) {
  const OneThread one;
  const Model teacher = TinyModel(1);
  HealOptions options = Short(4);
  options.token = {0, 0, 1, 0};
  options.hidden = 1;
  const TempFolder folder;
  const auto heal = [&](const char* state) {
    return Heal(TinyModel(2), Text(1, 24), *Registry<HealingMethod>::Create("full"), options, folder / state, &teacher);
  };
  const HealResult whole = heal("a");
  options.micro_batch = 1;
  const HealResult parts = heal("b");
  for (size_t i = 0; i < whole.curve.loss.size(); ++i)
    EXPECT_NEAR(parts.curve.loss[i] / whole.curve.loss[i], 1, 1e-4) << i;
}

TEST(Heal, OfABfloat16ModelTakesStepsThatAreSmallerThanItsRounding) {
  const OneThread one;
  const TempFolder folder;
  HealOptions options = Short(40);
  options.learning_rate = 1e-3;  // a gain of 1 has neighbours 4e-3 below and 8e-3 above
  options.warmup_share = 0;
  const Model model = CopyModel(TinyModel(1), at::kBFloat16, at::kCPU);
  const HealResult healed =
      Heal(model, Text(1, 24), *Registry<HealingMethod>::Create("vectors"), options, folder / "state");
  EXPECT_EQ(healed.model.dtype(), at::kBFloat16);
  EXPECT_FALSE(BitwiseEqual(healed.model, model));
  EXPECT_LT(healed.curve.validation_loss.back(), healed.curve.validation_loss.front());
}

TEST(Heal, ResumedAtAValidationKeepsItInTheLog) {
  const TempFolder folder;
  HealOptions options = Short(8);
  options.validations = 8;  // after each step
  options.save_seconds = 0;
  HealTiny("full", options, folder / "run" / "state");
  const auto validations = [&] {
    const std::string log = ReadFile(folder / "run" / "training" / "metrics.jsonl");
    int64_t count = 0;
    for (size_t at = log.find("validation_loss"); at != std::string::npos; at = log.find("validation_loss", at + 1))
      ++count;
    return count;
  };
  EXPECT_EQ(validations(), 9);
  HealTiny("full", options, folder / "run" / "state");  // goes on from the last state, a step before the end
  EXPECT_EQ(validations(), 9);
}

TEST(Heal, KeepsTheWeightsOfTheBestHeldOutLoss) {
  const TempFolder folder;
  HealOptions options = Short(40);
  options.learning_rate = 1;  // rises all the way: first steps teach, the last ones ruin
  options.warmup_share = 1;
  options.validations = 10;
  const auto held_out = [&](const Model& model) {
    const Tensor ids = Text(1, 24).slice(0, 20), logits = Logits(model, ids).slice(1, 0, -1);
    return at::cross_entropy_loss(logits.flatten(0, 1), ids.slice(1, 1).flatten()).item<double>();
  };
  const HealResult last = HealTiny("full", options, folder / "a");
  options.keep = "best";
  const HealResult best = HealTiny("full", options, folder / "b");
  const double lowest = *std::ranges::min_element(best.curve.validation_loss);
  ASSERT_LT(lowest, last.curve.validation_loss.back());
  EXPECT_NEAR(held_out(best.model), lowest, 1e-4);
  EXPECT_NEAR(held_out(last.model), last.curve.validation_loss.back(), 1e-4);
}

TEST(Heal, StopsWhenItsPatienceIsOver) {
  const TempFolder folder;
  HealOptions options = Short(40);
  options.learning_rate = 0;  // nothing gets better
  options.validations = 10;
  options.patience = 3;
  const HealResult healed = HealTiny("full", options, folder / "a");
  EXPECT_EQ(healed.curve.loss.size(), 12u);  // validations at steps 0, 4, 8 and 12
  EXPECT_EQ(healed.curve.validation_loss.size(), 4u);
}

TEST(Heal, GoesBackAndOnAtHalfTheRateWhenTheLossExplodes) {
  const TempFolder folder;
  HealOptions options = Short(30);
  options.learning_rate = 100;  // a step of 100 in every norm: above ten times the first loss
  options.warmup_share = 0;
  const std::string message = MessageOf([&] { HealTiny("vectors", options, folder / "a" / "state"); });
  EXPECT_NE(message.find("at step 1 (it started at"), std::string::npos) << message;
  options.retries = 1;  // 50 is still too much
  EXPECT_THROW(HealTiny("vectors", options, folder / "b" / "state"), NumericError);
  options.retries = 5;
  const HealResult healed = HealTiny("vectors", options, folder / "c" / "state");
  EXPECT_EQ(healed.curve.loss.size(), 30u);
  for (const double loss : healed.curve.loss) EXPECT_LE(loss, 10 * healed.curve.loss.front());
}

TEST(Heal, FromATeacherComesCloserToItsPredictions) {
  const OneThread one;
  const Model teacher = TinyModel(1);
  Model student = CopyModel(teacher, at::kFloat, at::kCPU);
  student.blocks[1].ffn.w_down.weight.zero_();
  const Tensor windows = RandomIds(3, 24, kLength, TinyShape().V);  // nothing to learn from the text itself
  HealOptions options = Short(40);
  const auto divergence = [&](const Model& model) {
    const Tensor log_p = at::log_softmax(Logits(teacher, windows), -1),
                 log_q = at::log_softmax(Logits(model, windows), -1);
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean().item<double>();
  };
  const double before = divergence(student);
  for (const auto& [next_token, logits, hidden] : {std::tuple{0.0, 1.0, 0.0}, {0.0, 0.0, 1.0}}) {
    options.token = {next_token, logits, 1, 0};
    options.hidden = hidden;
    const TempFolder folder;
    const HealResult healed =
        Heal(student, windows, *Registry<HealingMethod>::Create("full"), options, folder / "state", &teacher);
    EXPECT_LT(divergence(healed.model), 0.5 * before) << logits << " " << hidden;
    EXPECT_LT(healed.curve.loss.back(), healed.curve.loss.front());
  }
}

TEST(Heal, WithTheTeachersPredictionsOnDiskIsTheSameAsWithout) {
  const OneThread one;
  const Model teacher = TinyModel(1);
  Model student = CopyModel(teacher, at::kFloat, at::kCPU);
  student.blocks[1].ffn.w_down.weight.zero_();
  const Tensor windows = RandomIds(3, 24, kLength, TinyShape().V);
  HealOptions options = Short(12);
  options.token = {0.5, 1, 2, 6};
  const auto heal = [&](const std::filesystem::path& state) {
    return Heal(student, windows, *Registry<HealingMethod>::Create("full"), options, state, &teacher);
  };
  const TempFolder folder;
  const HealResult live = heal(folder / "live");
  options.teacher_cache = true;
  const HealResult kept = heal(folder / "kept");
  for (size_t i = 0; i < live.curve.loss.size(); ++i)
    EXPECT_NEAR(live.curve.loss[i], kept.curve.loss[i], 1e-3 * live.curve.loss[i]);
  // Read back from disk: bitwise the same.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(TeacherFolder(folder / "kept")), {}), 20);
  EXPECT_EQ(heal(folder / "kept").curve.loss, kept.curve.loss);
  SaveTensors(TeacherFolder(folder / "kept") / "7.safetensors", {{"ids", at::zeros({3, 6}, at::kInt)}});
  const std::string message = MessageOf([&] { heal(folder / "kept"); });
  EXPECT_NE(message.find("7.safetensors: expected 'ids' of 15 tokens with the likeliest 6 each"), std::string::npos)
      << message;
}

TEST(Heal, InBfloat16ProductsLearnsTheSame) {
  const TempFolder folder;
  HealOptions options = Short(20);
  const HealResult wide = HealTiny("full", options, folder / "wide" / "state");
  options.matmul = at::kBFloat16;
  const HealResult narrow = HealTiny("full", options, folder / "narrow" / "state");
  EXPECT_EQ(narrow.model.dtype(), at::kFloat);
  EXPECT_NE(wide.curve.loss.back(), narrow.curve.loss.back());
  EXPECT_NEAR(wide.curve.loss.back(), narrow.curve.loss.back(), 0.02 * wide.curve.loss.back());
}

TEST(HealOptions, KeepPredictionsOnlyOfTheTop) {
  const auto refused = [](std::map<std::string, OptionValue> values) {
    values["teacher_cache"] = true;
    return MessageOf([&] { HealOptionsFrom(Options(HealRecipeOptions(), values, "heal"), 1); });
  };
  EXPECT_NE(refused({{"logits", 1.0}}).find("expected logits and top above 0"), std::string::npos);
  EXPECT_NE(refused({{"top", int64_t{64}}}).find("expected logits and top above 0"), std::string::npos);
  EXPECT_EQ(refused({{"logits", 1.0}, {"top", int64_t{64}}}), "no error");
}

TEST(LearningRate, FollowsTheScheduleWorkedByHand) {
  // 20 steps, 0.1 of them warm-up: 2. Steps 0 and 1 get 1/3 and 2/3 of the peak, step 2 the peak; then the cosine over
  // 18 steps from 1 to 0.1: half way, at step 11, (1 + 0.1) / 2 of the peak; at step 20, which is never taken, 0.1.
  HealOptions options;
  options.learning_rate = 3;
  EXPECT_DOUBLE_EQ(LearningRate(options, 0, 20), 1);
  EXPECT_DOUBLE_EQ(LearningRate(options, 1, 20), 2);
  EXPECT_DOUBLE_EQ(LearningRate(options, 2, 20), 3);
  EXPECT_NEAR(LearningRate(options, 11, 20), 3 * 0.55, 1e-12);
  EXPECT_NEAR(LearningRate(options, 20, 20), 0.3, 1e-12);
  EXPECT_NEAR(LearningRate(options, 8, 20), 3 * (0.1 + 0.9 * 0.75), 1e-12);  // cos 60 degrees
  for (int64_t step = 2; step < 20; ++step)
    EXPECT_GT(LearningRate(options, step, 20), LearningRate(options, step + 1, 20));
  options.warmup_share = 0;
  EXPECT_DOUBLE_EQ(LearningRate(options, 0, 20), 3);
}

class EveryMethodHeals : public testing::TestWithParam<std::string> {};

TEST_P(EveryMethodHeals, AndLowersTheValidationLoss) {
  const TempFolder folder;
  const HealResult result = HealTiny(GetParam(), Short(30), folder / "state");
  const HealCurve& curve = result.curve;
  ASSERT_EQ(curve.loss.size(), 30u);
  ASSERT_EQ(curve.validation_loss.size(), 3u);
  EXPECT_EQ(curve.validation_tokens, (std::vector<int64_t>{0, 15 * 64, 30 * 64}));
  EXPECT_EQ(curve.tokens[1], 64);
  EXPECT_LT(curve.validation_loss[1], curve.validation_loss[0]);
  EXPECT_LT(curve.validation_loss[2], 0.9 * curve.validation_loss[0]);
  Model healed = result.model;
  for (const NamedTensorRef& ref : TensorsOf(healed)) EXPECT_FALSE(ref.tensor->requires_grad());
  EXPECT_NO_THROW(CheckShapes(healed));
  EXPECT_TRUE(at::equal(healed.embedding, TinyModel(1).embedding));  // is not trained
}

TEST_P(EveryMethodHeals, TheSameWithTheSameSeedAndAnotherWayWithAnother) {
  const TempFolder folder;
  HealOptions options = Short(5);
  const Model first = HealTiny(GetParam(), options, folder / "a").model,
              second = HealTiny(GetParam(), options, folder / "b").model;
  EXPECT_TRUE(BitwiseEqual(first, second));
  options.seed = 8;
  EXPECT_FALSE(BitwiseEqual(first, HealTiny(GetParam(), options, folder / "c").model));
}

TEST_P(EveryMethodHeals, TheSameWithoutCheckpointedActivations) {
  const TempFolder folder;
  HealOptions options = Short(5);
  const Model checkpointed = HealTiny(GetParam(), options, folder / "a").model;
  options.checkpoint_activations = false;
  EXPECT_TRUE(BitwiseEqual(checkpointed, HealTiny(GetParam(), options, folder / "b").model));
}

TEST_P(EveryMethodHeals, WithoutTouchingTheModelItIsGiven) {
  const TempFolder folder;
  const Model model = TinyModel(1);
  Heal(model, Text(1, 24), *Registry<HealingMethod>::Create(GetParam()), Short(3), folder / "state");
  EXPECT_TRUE(BitwiseEqual(model, TinyModel(1)));
  EXPECT_FALSE(model.blocks[0].ffn.w_up.low_rank);
  EXPECT_FALSE(model.blocks[0].ffn.w_up.weight.requires_grad());
}

INSTANTIATE_TEST_SUITE_P(Registered, EveryMethodHeals, testing::ValuesIn(Registry<HealingMethod>::Names()),
                         [](const testing::TestParamInfo<std::string>& test) { return test.param; });

// Death tests start the test program again and run it up to the statement, which therefore comes first; the path of the
// state is handed over in the environment.
template <class Parameter>
class Resuming : public testing::TestWithParam<Parameter> {
 protected:
  Resuming() {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    ::setenv("ESPALIER_TEST_STATE", (folder_ / "state").c_str(), /*overwrite=*/0);
  }
  ~Resuming() override { ::unsetenv("ESPALIER_TEST_STATE"); }
  static std::filesystem::path State() { return std::getenv("ESPALIER_TEST_STATE"); }

  TempFolder folder_;
};

// What the child does: heals until SIGINT arrives, which the first step's Progress notices.
[[noreturn]] void HealInterrupted(const std::string& method) {
  CatchSignals();
  std::raise(SIGINT);
  try {
    HealTiny(method, Short(8), std::getenv("ESPALIER_TEST_STATE"));
  } catch (const Interrupted&) {
    std::_Exit(3);
  }
  std::_Exit(4);
}

class HealInterruptedByASignal : public Resuming<std::string> {};

TEST_P(HealInterruptedByASignal, ResumesBitwiseEqual) {
  EXPECT_EXIT(HealInterrupted(GetParam()), testing::ExitedWithCode(3), "");
  EXPECT_EQ(LoadTensors(State()).at("curve.loss").numel(), 1);  // one step is in it
  const HealResult resumed = HealTiny(GetParam(), Short(8), State()),
                   whole = HealTiny(GetParam(), Short(8), folder_ / "whole");
  EXPECT_TRUE(BitwiseEqual(resumed.model, whole.model));
  EXPECT_EQ(resumed.curve.loss, whole.curve.loss);
  EXPECT_EQ(resumed.curve.validation_loss, whole.curve.validation_loss);
  EXPECT_EQ(resumed.curve.validation_tokens, whole.curve.validation_tokens);
}

INSTANTIATE_TEST_SUITE_P(Registered, HealInterruptedByASignal, testing::ValuesIn(Registry<HealingMethod>::Names()),
                         [](const testing::TestParamInfo<std::string>& test) { return test.param; });

// What the child does: saves after every step, and is killed some milliseconds after the first state appears.
[[noreturn]] void HealKilled(const HealOptions& wish, int milliseconds) {
  std::thread([milliseconds] {
    while (!std::filesystem::exists(std::getenv("ESPALIER_TEST_STATE")))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    std::raise(SIGKILL);
  }).detach();
  HealOptions options = wish;
  options.save_seconds = 0;
  HealTiny("lora", options, std::getenv("ESPALIER_TEST_STATE"));
  std::_Exit(4);  // finished before the kill
}

class HealKilledAtAnyMoment : public Resuming<int> {};

TEST_P(HealKilledAtAnyMoment, ResumesBitwiseEqual) {
  const HealOptions options = Short(40);
  EXPECT_EXIT(HealKilled(options, GetParam()), testing::KilledBySignal(SIGKILL), "");
  const int64_t steps = LoadTensors(State()).at("curve.loss").numel();  // whole, whenever the kill came
  EXPECT_GE(steps, 1);
  EXPECT_LT(steps, 40);
  const Model resumed = HealTiny("lora", options, State()).model,
              whole = HealTiny("lora", options, folder_ / "whole").model;
  EXPECT_TRUE(BitwiseEqual(resumed, whole)) << "killed after step " << steps;
}

INSTANTIATE_TEST_SUITE_P(Milliseconds, HealKilledAtAnyMoment, testing::Values(0, 9, 30));

TEST(Heal, StopsWithAnErrorWhenTheLossIsNotFiniteAndKeepsTheState) {
  const TempFolder folder;
  HealOptions options = Short(40);
  options.save_seconds = 0;
  options.retries = 1;
  options.learning_rate = 1e30;  // the second step cannot be finite
  options.warmup_share = 0;
  options.clip = 1e30;
  const std::string message = MessageOf([&] { HealTiny("full", options, folder / "state"); });
  EXPECT_NE(message.find("nan at step"), std::string::npos) << message;
  EXPECT_NE(message.find("lower heal.learning_rate, now 5e+29"), std::string::npos) << message;
  for (const auto& [name, tensor] : LoadTensors(folder / "state"))
    EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;  // never what the bad step left
}

TEST(Heal, RefusesAGradientThatIsNotFiniteBeforeItReachesTheWeights) {
  const TempFolder folder;
  Model model = TinyModel(1);
  model.final_norm = model.final_norm * 1e30;  // logits and gradients of 1e30 are finite, squares of gradients are not
  HealOptions options = Short(3);
  options.validation_windows = 1;
  const OneThread one;
  const std::string message =
      MessageOf([&] { Heal(model, Text(1, 24), *Registry<HealingMethod>::Create("full"), options, folder / "state"); });
  EXPECT_NE(message.find("the gradient's norm is inf"), std::string::npos) << message;
}

TEST(Heal, GoesBackBehindAStateWhoseWeightsAreBad) {
  const TempFolder folder;
  HealOptions options = Short(12);
  options.retries = 1;
  options.learning_rate = 1e30, options.clip = 1e30, options.warmup_share = 0;
  EXPECT_THROW(HealTiny("full", options, folder / "state"), NumericError);  // leaves states of step 0
  NamedTensors bad = LoadTensors(folder / "state");
  bad.at("retries").zero_();
  SaveTensors(folder / "state.1", bad);
  bad.at("parameter.block1.w_up.weight").fill_(std::numeric_limits<float>::quiet_NaN());
  SaveTensors(folder / "state", bad);
  options = Short(12);
  options.retries = 1;
  EXPECT_EQ(HealTiny("full", options, folder / "state").curve.loss.size(), 12u);
}

TEST(Heal, StopsWithAnErrorWhenTheModelIsNotFinite) {
  const TempFolder folder;
  Model model = TinyModel(1);
  model.blocks[1].ffn.w_up.weight[0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(Heal(model, Text(1, 24), *Registry<HealingMethod>::Create("full"), Short(3), folder / "state"),
               NumericError);
  EXPECT_FALSE(std::filesystem::exists(folder / "state"));
}

// While it lives, no file of this process may grow beyond so many bytes: a disk that is full.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(Heal, OnAFullDiskStopsAndKeepsTheLastCheckpoint) {
  const TempFolder folder;
  HealOptions options = Short(20);
  options.save_seconds = 0;  // after every step
  HealTiny("full", options, folder / "whole" / "state");
  const auto state = folder / "full" / "state";
  HealOptions first = options;
  first.retries = 1;  // a checkpoint before the first step
  first.learning_rate = 1e9;
  EXPECT_THROW(HealTiny("full", first, state), NumericError);
  const std::string kept = ReadFile(state);
  {
    const FullDisk full(4096);
    const std::string message = MessageOf([&] { HealTiny("full", options, state); });
    EXPECT_NE(message.find("state"), std::string::npos) << message;
  }
  EXPECT_EQ(ReadFile(state), kept);
  for (const auto& file : std::filesystem::directory_iterator(state.parent_path()))
    EXPECT_TRUE(file.path().string().starts_with(state.string()) || file.path().filename() == "training")
        << file.path();
}

TEST(Heal, RefusesAStateOfAnotherModel) {
  const TempFolder folder;
  SaveTensors(folder / "state", {{"curve.loss", at::zeros({2}, at::kDouble)}});
  EXPECT_NE(MessageOf([&] {
              HealTiny("full", Short(3), folder / "state");
            }).find("is missing or of another shape; delete this file to heal from the start"),
            std::string::npos);
}

TEST(Heal, SaysWhenThereIsNothingToTrainOn) {
  const TempFolder folder;
  EXPECT_EQ(
      MessageOf([&] {
        Heal(TinyModel(1), Text(1, 4), *Registry<HealingMethod>::Create("full"), Short(3), folder / "state");
      }),
      "heal: text 1 of 1 has 4 windows of 16 tokens, of which 4 are held out; expected more, so use more text, shorter "
      "windows or fewer validation_windows");
  EXPECT_EQ(MessageOf([&] {
              Heal(TinyModel(1), Text(1, 24), *Registry<HealingMethod>::Create("full"), Short(0), folder / "state");
            }),
            "heal: 0 tokens in 24 windows of 16 give no step of 4 windows; ask for more tokens or more text");
}

TEST(Heal, SaysWhenTheMethodHasNothingToLearn) {
  const TempFolder folder;
  const auto none = Registry<HealingMethod>::Create("lora", Options(Registry<HealingMethod>::Find("lora").info.options,
                                                                    {{"roles", std::vector<std::string>()}}, "test"));
  EXPECT_EQ(MessageOf([&] { Heal(TinyModel(1), Text(1, 24), *none, Short(3), folder / "state"); }),
            "heal: the method leaves nothing to learn; name at least one role that the model has");
}

TEST(HealOptions, ComeFromTheRecipeWithTheDefaultsOfTheStruct) {
  const HealOptions options = HealOptionsFrom(Options(HealRecipeOptions()), 5), defaults;
  EXPECT_EQ(options.batch, defaults.batch);
  EXPECT_EQ(options.clip, defaults.clip);
  EXPECT_EQ(options.warmup_share, defaults.warmup_share);
  EXPECT_EQ(options.validation_windows, defaults.validation_windows);
  EXPECT_EQ(options.seed, 5u);
  EXPECT_GT(options.learning_rate, 0);
}

}  // namespace
}  // namespace espalier
