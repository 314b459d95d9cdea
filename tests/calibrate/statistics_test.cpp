#include "espalier/calibrate/statistics.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "espalier/io/tensors.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// Rows whose means are far from zero and differ: where one-pass formulas lose digits.
Tensor Rows(uint64_t seed, int64_t count, int64_t n) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::empty({count, n}, at::kFloat).normal_(0, 1, generator) * at::arange(1, n + 1) + 100;
}

// Deviations are float32: rounding of 6e-8 of one, and what is left of it in a sum over a batch.
constexpr double kRounding = 1e-6;

Tensor Places(int64_t count, int64_t sequence = 0) {
  return at::stack({at::full({count}, sequence, at::kLong), at::arange(count)}, 1);
}

void ExpectEqual(const Moments& a, const Moments& b, double tolerance) {
  EXPECT_EQ(a.count, b.count);
  EXPECT_TRUE(at::allclose(a.mean, b.mean, tolerance));
  EXPECT_TRUE(at::allclose(a.squares, b.squares, tolerance));
  EXPECT_TRUE(at::allclose(a.fourth_powers, b.fourth_powers, tolerance));
  EXPECT_TRUE(at::equal(a.max, b.max));
  EXPECT_TRUE(at::equal(a.max_at, b.max_at));
}

TEST(Moments, MatchAnExampleWorkedByHand) {
  // Channel 0: 1, 3, -8: mean -4/3, deviations 7/3, 13/3, -20/3, squares (49 + 169 + 400) / 9 = 206/3.
  // Channel 1: 2, 2, 2. Co-moment of the two: 0. Largest |x| of channel 0: 8, third row.
  Moments moments = Moments::Empty(2, true);
  moments.Add(at::tensor({1.f, 2.f, 3.f, 2.f, -8.f, 2.f}).view({3, 2}),
              at::tensor({4, 0, 4, 1, 5, 7}, at::kLong).view({3, 2}));
  EXPECT_EQ(moments.count, 3);
  EXPECT_NEAR(moments.mean[0].item<double>(), -4.0 / 3, 4.0 / 3 * kRounding);
  EXPECT_NEAR(moments.squares[0].item<double>(), 206.0 / 3, 206.0 / 3 * kRounding);
  EXPECT_EQ(moments.squares[1].item<double>(), 0);
  EXPECT_NEAR(moments.Variance()[0].item<double>(), 206.0 / 9, 206.0 / 9 * kRounding);
  EXPECT_NEAR(moments.SumOfSquares()[0].item<double>(), 1 + 9 + 64, 74 * kRounding);
  EXPECT_NEAR(moments.SumOfSquares()[1].item<double>(), 12, 12 * kRounding);
  EXPECT_NEAR(moments.fourth_powers[0].item<double>(), 1 + 81 + 4096, 4178 * kRounding);
  EXPECT_NEAR(moments.fourth_powers[1].item<double>(), 48, 48 * kRounding);
  EXPECT_EQ(moments.max[0].item<double>(), 8);
  EXPECT_TRUE(at::equal(moments.max_at[0], at::tensor({5, 7}, at::kLong)));
  EXPECT_TRUE(at::equal(moments.max_at[1], at::tensor({4, 0}, at::kLong)));  // of equal values the first
  EXPECT_NEAR(moments.products[0][0].item<double>(), 206.0 / 3, 1e-4);       // float32 within one batch
  EXPECT_EQ(moments.products[0][1].item<double>(), 0);
}

TEST(Moments, AddedInPiecesMatchADirectTwoPassComputation) {
  const Tensor rows = Rows(1, 200, 5), x = rows.to(at::kDouble), places = Places(200);
  Moments pieces = Moments::Empty(5, true);
  for (const auto& [from, to] : {std::pair{0, 1}, {1, 64}, {64, 64}, {64, 199}, {199, 200}})
    pieces.Add(rows.slice(0, from, to), places.slice(0, from, to));
  const Tensor mean = x.mean(0), centred = x - mean;
  EXPECT_EQ(pieces.count, 200);
  EXPECT_LT(RelativeDifference(pieces.mean, mean), kRounding);
  EXPECT_LT(RelativeDifference(pieces.squares, centred.square().sum(0)), kRounding);
  EXPECT_LT(RelativeDifference(pieces.SumOfSquares(), x.square().sum(0)), kRounding);
  EXPECT_LT(RelativeDifference(pieces.fourth_powers, x.pow(4).sum(0)), kRounding);
  EXPECT_LT(RelativeDifference(pieces.products, centred.t().matmul(centred)), 1e-5);  // float32 products of one batch
  const auto [max, row] = x.abs().max(0);
  EXPECT_TRUE(at::equal(pieces.max, max));
  EXPECT_TRUE(at::equal(pieces.max_at.select(1, 1), row));
}

TEST(Moments, MergedFromTwoHalvesEqualOnePass) {
  const Tensor x = Rows(2, 100, 4), places = Places(100);
  Moments whole = Moments::Empty(4, true), left = Moments::Empty(4, true), right = Moments::Empty(4, true);
  whole.Add(x, places);
  left.Add(x.slice(0, 0, 30), places.slice(0, 0, 30));
  right.Add(x.slice(0, 30), places.slice(0, 30));
  left.Merge(right);
  ExpectEqual(left, whole, kRounding);
  EXPECT_LT(RelativeDifference(left.products, whole.products), 1e-5);

  Moments empty = Moments::Empty(4, true);
  empty.Merge(whole);
  ExpectEqual(empty, whole, 0);
  whole.Merge(Moments::Empty(4, true));
  ExpectEqual(empty, whole, 0);
}

TEST(Moments, OfACopyLeaveTheOriginalAlone) {
  Moments original = Moments::Empty(2, true);
  original.Add(Rows(3, 10, 2), Places(10));
  const Tensor products = original.products.clone();
  Moments copy = original;
  copy.Add(Rows(4, 10, 2), Places(10));
  EXPECT_TRUE(at::equal(original.products, products));
  EXPECT_EQ(original.count, 10);
}

TEST(Moments, OfAnotherWidthAreRefused) {
  Moments moments = Moments::Empty(3, false), other = Moments::Empty(2, false);
  other.Add(Rows(5, 2, 2), Places(2));
  EXPECT_THROW(moments.Merge(other), ShapeError);
  EXPECT_EQ(MessageOf([&] { moments.Merge(other); }), "statistics: expected 3 channels, got 2");
}

TEST(Moments, OfNoTokensHaveNoVariance) {
  const Moments moments = Moments::Empty(3, false);
  EXPECT_TRUE(at::equal(moments.Variance(), at::zeros({3}, at::kDouble)));
  EXPECT_TRUE(at::equal(moments.SumOfSquares(), at::zeros({3}, at::kDouble)));
}

TEST(Moments, OfWeightedTokensMatchSumsWrittenOut) {
  // Weights over ten orders of magnitude, as 1 / mean(h^2) has them with and without a spike.
  const int64_t N = 120, n = 4;
  const Tensor rows = Rows(6, N, n), x = rows.to(at::kDouble);
  const Tensor weights = at::pow(10.0, at::linspace(-8, 2, N, at::kDouble));
  Moments moments = Moments::Empty(n, true);
  for (const auto& [from, to] : {std::pair{0, 1}, {1, 50}, {50, 120}})
    moments.Add(rows.slice(0, from, to), Places(N).slice(0, from, to), weights.slice(0, from, to));
  double total = 0;
  std::vector<double> mean(n, 0);
  for (int64_t t = 0; t < N; ++t) {
    const double w = weights[t].item<double>();
    total += w;
    for (int64_t j = 0; j < n; ++j) mean[static_cast<size_t>(j)] += w * x[t][j].item<double>();
  }
  Tensor products = at::zeros({n, n}, at::kDouble);
  for (double& value : mean) value /= total;
  for (int64_t t = 0; t < N; ++t)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        products[i][j] += weights[t].item<double>() * (x[t][i].item<double>() - mean[static_cast<size_t>(i)]) *
                          (x[t][j].item<double>() - mean[static_cast<size_t>(j)]);
  EXPECT_EQ(moments.count, N);
  EXPECT_NEAR(moments.weight, total, total * 1e-14);
  EXPECT_LT(RelativeDifference(moments.mean, at::tensor(mean, at::kDouble)), kRounding);
  EXPECT_LT(RelativeDifference(moments.squares, products.diagonal()), kRounding);
  EXPECT_LT(RelativeDifference(moments.Variance(), products.diagonal() / total), kRounding);
  EXPECT_LT(RelativeDifference(moments.products, products), 1e-5);  // float32 products of one batch
  EXPECT_LT(RelativeDifference(moments.SumOfSquares(), (weights.unsqueeze(1) * x.square()).sum(0)), kRounding);
}

TEST(Moments, OfATokenOfWeightThreeAreThoseOfThreeTokens) {
  const Tensor x = Rows(7, 3, 2);
  Moments weighted = Moments::Empty(2, true), repeated = Moments::Empty(2, true);
  weighted.Add(x, Places(3), at::tensor({1.0, 3.0, 2.0}, at::kDouble));
  const Tensor rows = at::tensor({0, 1, 1, 1, 2, 2}, at::kLong);
  repeated.Add(x.index_select(0, rows), Places(3).index_select(0, rows));
  EXPECT_EQ(weighted.weight, repeated.weight);
  EXPECT_EQ(weighted.count, 3);
  EXPECT_TRUE(at::allclose(weighted.mean, repeated.mean, kRounding));
  EXPECT_TRUE(at::allclose(weighted.Variance(), repeated.Variance(), kRounding));
  EXPECT_TRUE(at::allclose(weighted.products, repeated.products, 1e-5));
}

TEST(Moments, OfWeightedHalvesMergeToOnePass) {
  const Tensor x = Rows(8, 60, 3), places = Places(60), weights = at::linspace(0.01, 3, 60, at::kDouble);
  Moments whole = Moments::Empty(3, true), left = Moments::Empty(3, true), right = Moments::Empty(3, true);
  whole.Add(x, places, weights);
  left.Add(x.slice(0, 0, 25), places.slice(0, 0, 25), weights.slice(0, 0, 25));
  right.Add(x.slice(0, 25), places.slice(0, 25), weights.slice(0, 25));
  left.Merge(right);
  EXPECT_NEAR(left.weight, whole.weight, 1e-12);
  ExpectEqual(left, whole, kRounding);
  EXPECT_LT(RelativeDifference(left.products, whole.products), 1e-5);
}

TEST(TokenWeighting, IsReadFromItsNameAndRefusesOthers) {
  for (const std::string& name : TokenWeightingNames()) EXPECT_EQ(TokenWeightingName(ParseTokenWeighting(name)), name);
  EXPECT_NE(MessageOf([] { ParseTokenWeighting("inverse_rm"); }).find("Nearest: inverse_rms"), std::string::npos);
}

Statistics Sample(uint64_t seed, int64_t sequences, bool products) {
  Statistics statistics{sequences, 7, 64.5, TokenWeighting::kInverseRms, {}};
  for (const int64_t width : {int64_t{4}, int64_t{0}}) {  // a removed sublayer has no channels
    BlockStatistics block;
    for (SiteStatistics* site : {&block.head_out, &block.ffn_hidden}) {
      *site = {Moments::Empty(width, products), Moments::Empty(width, false)};
      site->counted.Add(Rows(seed, 6, width), Places(6, sequences - 1), at::full({6}, 0.25, at::kDouble));
      site->left_out.Add(Rows(seed + 1, 1, width) * 50, Places(1));
    }
    block.loss_mass["ffn_channel"] = at::arange(4, at::kDouble) + static_cast<double>(seed);
    statistics.blocks.push_back(block);
  }
  return statistics;
}

TEST(Statistics, ReadBackWhatTheySaved) {
  const TempFolder folder;
  const Statistics saved = Sample(1, 3, true);
  SaveStatistics(saved, folder / "statistics.safetensors");
  const Statistics loaded = LoadStatistics(folder / "statistics.safetensors");
  EXPECT_EQ(loaded.sequences, 3);
  EXPECT_EQ(loaded.length, 7);
  EXPECT_EQ(loaded.outlier_ratio, 64.5);
  EXPECT_EQ(loaded.tokens, TokenWeighting::kInverseRms);
  ASSERT_EQ(loaded.blocks.size(), 2u);
  for (size_t l = 0; l < 2; ++l)
    for (const Role role : {Role::kO, Role::kDown}) {
      const SiteStatistics &before = saved.blocks[l].At(role), &after = loaded.blocks[l].At(role);
      ExpectEqual(after.counted, before.counted, 0);
      EXPECT_EQ(after.counted.weight, 1.5);
      ExpectEqual(after.left_out, before.left_out, 0);
      EXPECT_TRUE(at::equal(after.counted.products, before.counted.products.to(at::kFloat)));
      EXPECT_FALSE(after.left_out.products.defined());
      EXPECT_TRUE(at::equal(loaded.blocks[l].loss_mass.at("ffn_channel"), saved.blocks[l].loss_mass.at("ffn_channel")));
    }
}

TEST(Statistics, MergedCountTheSequencesOfTheOtherAfterTheirOwn) {
  Statistics first = Sample(1, 3, false);
  Statistics second = Sample(1, 2, false);
  second.blocks[0].head_out.counted.max = second.blocks[0].head_out.counted.max + 1;
  first.Merge(second);
  EXPECT_EQ(first.sequences, 5);
  const Moments& moments = first.blocks[0].head_out.counted;
  EXPECT_EQ(moments.count, 12);
  // Sequence 1 of the second is the fifth of all, number 4.
  EXPECT_TRUE(moments.max_at.select(1, 0).eq(4).all().item<bool>()) << moments.max_at;
  EXPECT_TRUE(at::equal(first.blocks[0].loss_mass.at("ffn_channel"), at::tensor({2.0, 4.0, 6.0, 8.0}, at::kDouble)));
}

TEST(Statistics, OfAnotherModelAreRefused) {
  Statistics first = Sample(1, 3, false), second = Sample(2, 3, false);
  second.blocks.pop_back();
  EXPECT_EQ(MessageOf([&] { first.Merge(second); }), "statistics: expected 2 blocks, got 1");
  second = Sample(2, 3, false);
  second.tokens = TokenWeighting::kAll;
  EXPECT_EQ(MessageOf([&] { first.Merge(second); }), "statistics: expected tokens weighted 'inverse_rms', got 'all'");
}

TEST(Statistics, RefuseAFileThatIsNoneNamingWhatIsMissing) {
  const TempFolder folder;
  const auto message = [&](const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
    SaveTensors(folder / "x.safetensors", tensors, metadata);
    return MessageOf([&] { LoadStatistics(folder / "x.safetensors"); });
  };
  const Tensor some = at::zeros({2}, at::kDouble);
  EXPECT_NE(message({{"a", some}}, {}).find("no 'format' in the metadata"), std::string::npos);
  const std::map<std::string, std::string> metadata = {{"format", "espalier.statistics/3"},
                                                       {"tokens", "all"},
                                                       {"sequences", "1"},
                                                       {"length", "2"},
                                                       {"outlier_ratio", "64"},
                                                       {"blocks", "1"},
                                                       {"gradient_tokens", "0"}};
  EXPECT_NE(message({{"a", some}}, metadata).find("no tensor 'block0.head_out.counted.mean'"), std::string::npos);
  std::map<std::string, std::string> bad = metadata;
  bad["format"] = "espalier.statistics/1";
  EXPECT_EQ(message({{"a", some}}, bad),
            (folder / "x.safetensors").string() +
                ": format is 'espalier.statistics/1', expected 'espalier.statistics/3'; calibrate again");
  bad = metadata;
  bad["tokens"] = "some";
  EXPECT_NE(message({{"a", some}}, bad).find("tokens: unknown token weighting 'some'"), std::string::npos);
  bad = metadata;
  bad["blocks"] = "many";
  EXPECT_NE(message({{"a", some}}, bad).find("blocks is 'many', expected a number"), std::string::npos);

  SaveStatistics(Sample(1, 1, false), folder / "good.safetensors");
  NamedTensors tensors = LoadTensors(folder / "good.safetensors");
  bad = metadata;
  bad["blocks"] = "2";
  tensors["block0.ffn_hidden.counted.squares"] = at::zeros({3}, at::kDouble);
  EXPECT_NE(message(tensors, bad).find("block0.ffn_hidden.counted"), std::string::npos) << message(tensors, bad);
}

}  // namespace
}  // namespace espalier
