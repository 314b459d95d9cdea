#include "espalier/evaluate/windows.h"

#include <gtest/gtest.h>

#include "espalier/core/error.h"

namespace espalier {
namespace {

using Windows = std::vector<ScoredWindow>;

TEST(GptqWindows, DoNotOverlapAndDropTheRest) {
  EXPECT_EQ(GptqWindows(10, 4, 0), (Windows{{0, 4, 1}, {4, 8, 5}}));
  EXPECT_EQ(GptqWindows(8, 4, 0), (Windows{{0, 4, 1}, {4, 8, 5}}));
  EXPECT_EQ(GptqWindows(3, 4, 0), Windows());
  EXPECT_EQ(GptqWindows(0, 4, 0), Windows());
  EXPECT_EQ(GptqWindows(100, 4, 1), (Windows{{0, 4, 1}}));
}

TEST(StridedWindows, ScoreEachTokenInTheFirstWindowThatReachesIt) {
  // 10 tokens, windows of 4, every 3: 1-3 in the first, then 4-6, 7-9 with one token of context more.
  EXPECT_EQ(StridedWindows(10, 4, 3, 0), (Windows{{0, 4, 1}, {3, 7, 4}, {6, 10, 7}}));
  // Every 2: the last window is short by one.
  EXPECT_EQ(StridedWindows(9, 4, 2, 0), (Windows{{0, 4, 1}, {2, 6, 4}, {4, 8, 6}, {6, 9, 8}}));
  EXPECT_EQ(StridedWindows(3, 4, 2, 0), (Windows{{0, 3, 1}}));
  EXPECT_EQ(StridedWindows(4, 4, 2, 0), (Windows{{0, 4, 1}}));
  EXPECT_EQ(StridedWindows(9, 4, 2, 2), (Windows{{0, 4, 1}, {2, 6, 4}}));
}

TEST(StridedWindows, OfATextOfOneTokenOrNoneScoreNothing) {
  EXPECT_EQ(StridedWindows(1, 4, 2, 0), Windows());
  EXPECT_EQ(StridedWindows(0, 4, 2, 0), Windows());
}

TEST(StridedWindows, ScoreEveryTokenButTheFirstExactlyOnce) {
  for (int64_t tokens = 2; tokens <= 40; ++tokens)
    for (int64_t window = 2; window <= 12; ++window)
      for (int64_t stride = 1; stride < window; ++stride) {
        std::vector<int> scored(static_cast<size_t>(tokens), 0);
        for (const ScoredWindow& at : StridedWindows(tokens, window, stride, 0)) {
          EXPECT_LE(at.end - at.begin, window);
          EXPECT_EQ(at.begin % stride, 0);
          EXPECT_GT(at.first_scored, at.begin);  // a prediction needs a token before it
          EXPECT_LT(at.first_scored, at.end);
          for (int64_t i = at.first_scored; i < at.end; ++i) ++scored[static_cast<size_t>(i)];
        }
        EXPECT_EQ(scored[0], 0);
        for (size_t i = 1; i < scored.size(); ++i)
          ASSERT_EQ(scored[i], 1) << tokens << " " << window << " " << stride << " " << i;
      }
}

TEST(StridedWindows, NeedATokenOfOverlap) {
  EXPECT_THROW(StridedWindows(10, 4, 4, 0),
               InternalError);  // token 4 would open the second window, with nothing before it
  EXPECT_THROW(StridedWindows(10, 4, 0, 0), InternalError);
}

}  // namespace
}  // namespace espalier
