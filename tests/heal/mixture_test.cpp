#include "../../src/heal/mixture.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "espalier/core/json.h"
#include "espalier/io/tensors.h"
#include "support/tiny_run.h"

namespace espalier {
namespace {

// Windows that say which they are: text t's window i is full of 100 t + i.
std::vector<TrainingText> Texts(const std::vector<std::pair<int64_t, double>>& counts_and_weights) {
  std::vector<TrainingText> texts;
  for (const auto& [count, weight] : counts_and_weights) {
    const int64_t hundred = 100 * std::ssize(texts);
    texts.push_back({(at::arange(count, at::kLong) + hundred).unsqueeze(1).expand({count, 4}).contiguous(), weight});
  }
  return texts;
}

std::vector<int64_t> Names(Mixture& mixture, int64_t first, int64_t count) {
  std::vector<int64_t> names;
  for (const int64_t row : mixture.Rows(first, count)) names.push_back(mixture.Windows({row})[0][0].item<int64_t>());
  return names;
}

TEST(Mixture, GivesEachTextItsWeightsShareOfTheSamples) {
  Mixture mixture(Texts({{20, 3}, {10, 1}}), 2, 1);
  const std::vector<int64_t> names = Names(mixture, 0, 400);
  EXPECT_NEAR(std::ranges::count_if(names, [](int64_t name) { return name >= 100; }), 100, 3);
  // Evenly spread: a quarter of any 40 as well.
  for (size_t from = 0; from < 400; from += 40)
    EXPECT_NEAR(
        std::count_if(names.begin() + from, names.begin() + from + 40, [](int64_t name) { return name >= 100; }), 10,
        2);
}

TEST(Mixture, ReadsEachTextWholeBeforeItReadsAWindowAgain) {
  Mixture mixture(Texts({{7, 1}, {5, 1}}), 2, 1);
  std::vector<int64_t> of_second;
  for (const int64_t name : Names(mixture, 0, 60))
    if (name >= 100) of_second.push_back(name);
  ASSERT_GE(of_second.size(), 9u);
  for (size_t pass = 0; pass < 3; ++pass) {
    std::vector<int64_t> seen(of_second.begin() + 3 * pass, of_second.begin() + 3 * pass + 3);
    std::ranges::sort(seen);
    EXPECT_EQ(seen, (std::vector<int64_t>{100, 101, 102}));  // 103 and 104 are held out
  }
}

TEST(Mixture, IsTheSameFromWhereverItStarts) {
  Mixture whole(Texts({{20, 3}, {10, 1}}), 2, 5), parts(Texts({{20, 3}, {10, 1}}), 2, 5);
  const std::vector<int64_t> all = whole.Rows(0, 50);
  EXPECT_EQ(parts.Rows(30, 20), std::vector<int64_t>(all.begin() + 30, all.end()));
  EXPECT_EQ(parts.Rows(10, 5), std::vector<int64_t>(all.begin() + 10, all.begin() + 15));  // back, as after a retry
}

TEST(Mixture, WeighsHeldOutLossesAsItWeighsTexts) {
  // Held out: 18, 19 of the first text, 108, 109 of the second: 3/4 of 18.5 and 1/4 of 108.5.
  const Mixture mixture(Texts({{20, 3}, {10, 1}}), 2, 1);
  EXPECT_DOUBLE_EQ(mixture.HeldOut([](const at::Tensor& ids) { return ids[0][0].item<double>(); }), 41);
}

TEST(Mixture, OfARecipeTrainsOnEveryText) {
  const TinyRun run;
  const std::string text = run.Text().string(), other = text + ".other.txt";
  std::string words;
  for (int i = 0; i < 400; ++i) words += "so on and on ";
  WriteFile(other, words);
  const auto loss = [&](const std::string& name, const std::string& mix) {
    const auto folder = run.Run(name,
                                "  healing: {path: " + text + mix +
                                    "}\nprune: {units: ffn_channel, score: magnitude, budget: {remove: 0.2}, "
                                    "compensate: none}\nheal: {method: vectors, tokens: 512, batch: 2, length: 32, "
                                    "validation_windows: 2}\nallow_leak: true\n",
                                "heal");
    return ReadJson(folder / "heal.json")["loss"].get<std::vector<double>>();
  };
  const std::vector<double> alone = loss("alone", ""),
                            mixed = loss("mixed", ", mix: [{path: " + other + ", weight: 2}]");
  EXPECT_EQ(alone.size(), mixed.size());
  EXPECT_NE(alone, mixed);
  // Tokens as they are.
  const std::string ids = text + ".safetensors";
  SaveTensors(ids, {{"ids", RandomIds(4, 40, 32, run.model().config.V)}});
  const std::vector<double> of_ids = loss("ids", ", mix: [{path: " + ids + ", weight: 2}]");
  EXPECT_EQ(of_ids.size(), alone.size());
  EXPECT_NE(of_ids, mixed);
  SaveTensors(ids, {{"ids", at::full({64}, 1 << 30, at::kInt)}});
  EXPECT_NE(MessageOf([&] {
              loss("wrong", ", mix: [{path: " + ids + "}]");
            }).find("id 0 is 1073741824, expected 0 to " + std::to_string(run.model().config.V - 1)),
            std::string::npos);
  EXPECT_NE(MessageOf([&] {
              loss("part", ", mix: [{path: " + ids + ", first_document: 1}]");
            }).find("has ids, not documents"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] { loss("missing", ", mix: [{path: nowhere.txt}]"); }).find("nowhere.txt"), std::string::npos);
  EXPECT_NE(MessageOf([&] { loss("weightless", ", mix: [{path: " + other + ", weight: 0}]"); }).find("weight"),
            std::string::npos);
}

}  // namespace
}  // namespace espalier
