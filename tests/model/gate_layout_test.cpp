#include "espalier/model/gate_layout.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/support.h"

namespace espalier {
namespace {

BlockConfig Heads(int64_t H, int64_t G, GateKind gate) {
  BlockConfig block;
  block.H = H;
  block.G = G;
  block.kv_of_head = EvenKvOfHead(H, G);
  block.gate = gate;
  return block;
}

// Row numbers as a one-column weight.
at::Tensor Rows(int64_t n) {
  return at::arange(n, at::kFloat).unsqueeze(1);
}

// Query row and gate row of head h = j*g + r, channel c in the fused tensor, by the table of arXiv 2505.06708's code.
TEST(GateLayout, PutsEveryRowWhereTheTableSays) {
  const int64_t H = 8, G = 2, D = 4, g = H / G;
  for (const auto& [layout, gate] : {std::pair{GateLayout::kGrouped, GateKind::kElementwise},
                                     {GateLayout::kGrouped, GateKind::kHeadwise},
                                     {GateLayout::kPerHead, GateKind::kElementwise}}) {
    const bool headwise = gate == GateKind::kHeadwise;
    const BlockConfig block = Heads(H, G, gate);
    const QueryAndGate parts = SplitQueryAndGate(Rows(headwise ? H * D + H : 2 * H * D), layout, block, D, "q_proj");
    for (int64_t h = 0; h < H; ++h)
      for (int64_t c = 0; c < D; ++c) {
        const int64_t j = h / g, r = h % g;
        const int64_t query = layout == GateLayout::kPerHead ? h * 2 * D + c
                              : headwise                     ? j * (g * D + g) + r * D + c
                                                             : j * 2 * g * D + r * D + c;
        const int64_t score = layout == GateLayout::kPerHead ? h * 2 * D + D + c
                              : headwise                     ? j * (g * D + g) + g * D + r
                                                             : j * 2 * g * D + g * D + r * D + c;
        EXPECT_EQ(parts.query[h * D + c][0].item<float>(), static_cast<float>(query));
        EXPECT_EQ(parts.gate[headwise ? h : h * D + c][0].item<float>(), static_cast<float>(score));
      }
  }
}

TEST(GateLayout, FusingUndoesSplittingBitForBit) {
  for (const GateLayout layout : {GateLayout::kGrouped, GateLayout::kPerHead}) {
    const BlockConfig block = Heads(8, 2, GateKind::kElementwise);
    const at::Tensor weight = at::rand({64, 5}), bias = at::rand({64});
    EXPECT_TRUE(
        at::equal(FuseQueryAndGate(SplitQueryAndGate(weight, layout, block, 4, "w"), layout, block, 4), weight));
    EXPECT_TRUE(at::equal(FuseQueryAndGate(SplitQueryAndGate(bias, layout, block, 4, "b"), layout, block, 4), bias));
  }
}

TEST(GateLayout, OrdersDifferInTheNumberOfRowsThatThePaperSays) {
  // 8 query heads, 2 KV heads, width 4: 48 of 64 rows; 16, 2, 8: 224 of 256; equal when every head has its own group.
  const auto moved = [](int64_t H, int64_t G, int64_t D) {
    const BlockConfig block = Heads(H, G, GateKind::kElementwise);
    const at::Tensor rows = Rows(2 * H * D);
    const at::Tensor other = FuseQueryAndGate(SplitQueryAndGate(rows, GateLayout::kGrouped, block, D, "q_proj"),
                                              GateLayout::kPerHead, block, D);
    return (rows != other).sum().item<int64_t>();
  };
  EXPECT_EQ(moved(8, 2, 4), 48);
  EXPECT_EQ(moved(16, 2, 8), 224);
  EXPECT_EQ(moved(4, 4, 4), 0);
}

TEST(GateLayout, FusesUnevenAndRaggedHeadsEachWithTheRowsItHas) {
  // D = 4. Group 0 has head 0 and keeps 2 query dimensions and 3 value channels; group 1 has heads 1 to 3, 4 and 1.
  BlockConfig block = Heads(4, 2, GateKind::kElementwise);
  block.kv_of_head = {0, 1, 1, 1};
  block.qk_dims = {{0, 2}, {0, 1, 2, 3}};
  block.value_channels = {{0, 1, 3}, {2}};
  const at::Tensor fused = Rows(2 + 3 + 3 * (4 + 1));
  for (const GateLayout layout : {GateLayout::kGrouped, GateLayout::kPerHead}) {
    const QueryAndGate parts = SplitQueryAndGate(fused, layout, block, 4, "q_proj");
    EXPECT_EQ(parts.query.size(0), 2 + 3 * 4);
    EXPECT_EQ(parts.gate.size(0), 3 + 3 * 1);
    EXPECT_TRUE(at::equal(FuseQueryAndGate(parts, layout, block, 4), fused));
  }
  // Grouped: the 12 queries of group 1 stand together, rows 5 to 16. Per head: head 1 has rows 5 to 8, its gate row 9.
  EXPECT_TRUE(at::equal(SplitQueryAndGate(fused, GateLayout::kGrouped, block, 4, "q_proj").gate.narrow(0, 3, 3),
                        fused.narrow(0, 17, 3)));
  EXPECT_TRUE(at::equal(SplitQueryAndGate(fused, GateLayout::kPerHead, block, 4, "q_proj").gate.narrow(0, 3, 1),
                        fused.narrow(0, 9, 1)));
}

}  // namespace
}  // namespace espalier
