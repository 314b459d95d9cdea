#include "espalier/heal/bigram_backcopy.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// By frequency: a 6, b 4, c 3, d 2. Followers of b: a, a, c, d; of c: a, a, b; of d: a, a.
const std::string kText = "babacadbcabdacab";

BigramBackcopy Make(int64_t triggers = 1) {
  return MakeBigramBackcopy(kText, {.sequences = 400, .length = 24, .symbols = 4, .triggers = triggers, .seed = 3});
}

TEST(BigramBackcopy, BeginsWithBosAndASymbolThatIsNoTrigger) {
  const BigramBackcopy task = Make();
  EXPECT_EQ(task.triggers, std::vector<int64_t>{'a'});
  EXPECT_TRUE(task.windows.select(1, 0).eq(256).all().item<bool>());
  EXPECT_TRUE(task.windows.select(1, 1).ne('a').all().item<bool>());
}

TEST(BigramBackcopy, CopiesTheSymbolBeforeATriggerAndFollowsThePairsElsewhere) {
  const BigramBackcopy task = Make();
  const auto ids = task.windows.accessor<int64_t, 2>();
  for (int64_t s = 0; s < ids.size(0); ++s)
    for (int64_t t = 2; t < ids.size(1); ++t) {
      if (ids[s][t - 1] == 'a') {
        EXPECT_EQ(ids[s][t], ids[s][t - 2]);
      } else {
        const std::string pair = {static_cast<char>(ids[s][t - 1]), static_cast<char>(ids[s][t])};
        EXPECT_NE(kText.find(pair), std::string::npos) << pair;
      }
    }
}

TEST(BigramBackcopy, KnowsTheLossThatNoModelBeats) {
  // Of every window: -log of the counted share of each pair that is not a copy, over 23 predictions.
  const BigramBackcopy task = Make();
  const auto ids = task.windows.accessor<int64_t, 2>();
  const auto share = [](char a, char b) {
    double both = 0, all = 0;
    for (size_t i = 0; i + 1 < kText.size(); ++i)
      if (kText[i] == a) ++all, both += kText[i + 1] == b;
    return both / all;
  };
  const auto starts = [](char c) {  // among what is no trigger
    return static_cast<double>(std::ranges::count(kText, c)) /
           static_cast<double>(std::ssize(kText) - std::ranges::count(kText, 'a'));
  };
  for (int64_t s = 0; s < 5; ++s) {
    double loss = -std::log(starts(static_cast<char>(ids[s][1])));
    for (int64_t t = 2; t < 24; ++t)
      if (ids[s][t - 1] != 'a') loss -= std::log(share(static_cast<char>(ids[s][t - 1]), static_cast<char>(ids[s][t])));
    EXPECT_NEAR(task.optimal_loss[s].item<double>(), loss / 23, 1e-12);
  }
}

TEST(BigramBackcopy, IsTheSameForTheSameSeedAndRefusesWhatTheTextDoesNotGive) {
  EXPECT_TRUE(at::equal(Make().windows, Make().windows));
  EXPECT_THROW(MakeBigramBackcopy(kText, {.sequences = 1, .length = 8, .symbols = 5, .triggers = 1}), RecipeError);
  EXPECT_THROW(Make(4), RecipeError);
}

}  // namespace
}  // namespace espalier
