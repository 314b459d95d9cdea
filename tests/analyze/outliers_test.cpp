#include "../../src/analyze/outliers.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "quiet_model.h"
#include "support/letter_tokenizer.h"

namespace espalier {
namespace {

using at::Tensor;

// [B, T, 2]: the second channel has the given magnitudes, the first nothing.
Tensor Hidden(const Tensor& magnitudes) {
  return at::stack({at::zeros_like(magnitudes), -magnitudes}, 2);
}

TEST(HiddenOutliers, AreMoreThan64TimesTheMedian) {
  const Tensor found = HiddenOutliers(Hidden(at::tensor({1., 65., 1., 64., 63., 1., 1.}).unsqueeze(0)), 64);
  EXPECT_TRUE(at::equal(found, at::tensor({0, 1, 0, 0, 0, 0, 0}).to(at::kBool).unsqueeze(0)));
}

TEST(HiddenOutliers, OfAWindowDependOnNoOther) {
  // The same 100 is an outlier where others are 1 and none where they are 2.
  const Tensor found = HiddenOutliers(Hidden(at::tensor({1., 1., 100., 2., 2., 100.}).view({2, 3})), 64);
  EXPECT_TRUE(at::equal(found, at::tensor({0, 0, 1, 0, 0, 0}).to(at::kBool).view({2, 3})));
}

void Add(OutlierMeter& meter, int64_t block, const Tensor& magnitudes, int64_t first) {
  BlockTaps taps({});
  taps.Observe(block, Site::kFfnHidden, Hidden(magnitudes));
  meter.Add(block, taps, first);
}

TEST(OutlierMeter, CountsATokenOnceAndTakesThePrefixFromTheBlockThatHasMost) {
  // Windows "abca" and "bcba". Block 0: position 0 of both. Block 1: position 0 and 2 of the first, 2 of the second.
  const Tensor windows = at::tensor({'a', 'b', 'c', 'a', 'b', 'c', 'b', 'a'}, at::kLong).view({2, 4});
  OutlierMeter meter(windows, 2, {});
  Add(meter, 0, at::tensor({99., 1., 1., 1., 99., 1., 1., 1.}).view({2, 4}), 0);
  Add(meter, 1, at::tensor({99., 1., 99., 1.}).view({1, 4}) + at::tensor({0., 0., 0., 0.5}), 0);
  Add(meter, 1, at::tensor({1., 1., 99., 1.}).view({1, 4}), 1);
  Phenomena phenomena;
  const LetterTokenizer letters(256);
  meter.Finish(phenomena, &letters);
  const Outliers& outliers = phenomena.outliers;
  EXPECT_EQ(outliers.ratio, 64);
  EXPECT_EQ(outliers.mean_per_sequence, 1.5);  // block 1: three of two windows
  EXPECT_EQ(outliers.prefix_length, 2);
  ASSERT_EQ(outliers.tokens.size(), 3u);
  EXPECT_EQ(outliers.tokens[0].text, "b");  // position 0 of the second window, position 2 of it
  EXPECT_EQ(outliers.tokens[0].count, 2);
  EXPECT_EQ(outliers.tokens[0].first, 1);
  EXPECT_EQ(outliers.tokens[1].text, "a");  // in both blocks, but one token of the text
  EXPECT_EQ(outliers.tokens[1].count, 1);
  EXPECT_EQ(outliers.tokens[1].first, 1);
  EXPECT_EQ(outliers.tokens[2].text, "c");
  EXPECT_EQ(outliers.tokens[2].first, 0);
}

TEST(OutlierMeter, FindsThePlantedToken) {
  Model model = QuietModel(3);
  PlantNeuron(model.blocks[1], 7, Planted::kTrigger, Planted::kSpike, 2.5);
  model.blocks[1].ffn.w_up.weight[7][Planted::kTrigger] = 50;  // 20 * 200 = 4000
  Tensor ids = PlantedIds(2, 4, 64);
  ids[1][0] = ids[1][1];
  ids[1][40] = Planted::kSpecial;
  const Phenomena phenomena = Analyze(model, ids, {}, "dense");
  EXPECT_EQ(phenomena.outliers.mean_per_sequence, 1);
  EXPECT_EQ(phenomena.outliers.prefix_length, 1);
  ASSERT_EQ(phenomena.outliers.tokens.size(), 1u);
  EXPECT_EQ(phenomena.outliers.tokens[0].id, Planted::kSpecial);
  EXPECT_EQ(phenomena.outliers.tokens[0].count, 4);
  EXPECT_EQ(phenomena.outliers.tokens[0].first, 3);
  EXPECT_EQ(phenomena.outliers.tokens[0].text, "");  // no tokenizer
}

}  // namespace
}  // namespace espalier
