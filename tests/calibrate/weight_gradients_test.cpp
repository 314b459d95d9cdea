#include "espalier/calibrate/weight_gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "espalier/model/forward.h"
#include "espalier/model/unit_space.h"
#include "support/losses.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// The three sums of one unit from central differences of each sequence's loss, weight by weight.
Tensor ByDifferences(Model model, const Tensor& ids, int64_t block, UnitKind kind, int64_t unit) {
  Tensor sums = at::zeros({3}, at::kDouble);
  constexpr double kStep = 1e-3;
  for (const Slice& slice : UnitSpace(model, block, kind).Owns(unit)) {
    Tensor& weight = model.blocks[static_cast<size_t>(block)].At(slice.role).weight;
    const Tensor dense = weight;
    for (int64_t i = 0; i < slice.count; ++i)
      for (int64_t j = 0; j < dense.size(slice.axis == Axis::kRows ? 1 : 0); ++j) {
        const int64_t row = slice.axis == Axis::kRows ? slice.first + i : j,
                      column = slice.axis == Axis::kRows ? j : slice.first + i;
        double mean = 0, square = 0;
        for (int64_t s = 0; s < ids.size(0); ++s) {
          const auto loss = [&](double step) {
            weight = dense.clone();
            weight[row][column] += step;
            return MeanLoss(model, ids.narrow(0, s, 1));
          };
          const double slope = (loss(kStep) - loss(-kStep)) / (2 * kStep);
          mean += slope / static_cast<double>(ids.size(0));
          square += slope * slope / static_cast<double>(ids.size(0));
        }
        const double w = dense[row][column].item<double>(), first = w * mean, second = w * w * square;
        sums += at::tensor({std::abs(first), second, std::abs(first - second / 2)}, at::kDouble);
      }
    weight = dense;
  }
  return sums;
}

TEST(TaylorSums, AreThoseOfCentralDifferencesOfEachWeight) {
  const Model model = CopyModel(TinyModel(5), at::kDouble, at::kCPU);
  const Tensor ids = RandomIds(6, 3, 5, model.config.V);
  Statistics statistics;
  statistics.blocks.resize(3);
  AddTaylorSums(model, ids, Scratch(), statistics);
  for (const auto& [block, kind, unit] : {std::tuple{0, UnitKind::kFfnChannel, 7},
                                          {1, UnitKind::kQueryHead, 2},
                                          {2, UnitKind::kValueChannel, 3},
                                          {1, UnitKind::kQkPair, 1}}) {
    const Tensor measured = statistics.blocks[static_cast<size_t>(block)].taylor.find(UnitKindName(kind))->second[unit];
    const Tensor expected = ByDifferences(model, ids, block, kind, unit);
    // float32 norms and loss inside a float64 model: the slope of a single weight is good to 1e-4, its square to less.
    EXPECT_TRUE(at::allclose(measured, expected, 0.05, 1e-6)) << UnitKindName(kind) << measured << expected;
  }
}

TEST(TaylorSums, OfABlockAreThoseOfItsPartsAndOfEachPartThoseOfItsUnits) {
  const Model model = TinyModel(7);
  Statistics statistics;
  statistics.blocks.resize(3);
  AddTaylorSums(model, RandomIds(8, 2, 8, model.config.V), Scratch(), statistics);
  for (const BlockStatistics& block : statistics.blocks) {
    EXPECT_TRUE(at::allclose(block.taylor.at("block"), block.taylor.at("attention") + block.taylor.at("ffn")));
    EXPECT_TRUE(at::allclose(block.taylor.at("attention"), block.taylor.at("kv_group").sum(0, true)));
    EXPECT_TRUE(at::allclose(block.taylor.at("ffn"), block.taylor.at("ffn_channel").sum(0, true)));
  }
}

}  // namespace
}  // namespace espalier
