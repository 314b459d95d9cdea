#include "espalier/model/unit_space.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

bool operator==(const Slice& a, const Slice& b) {
  return a.role == b.role && a.axis == b.axis && a.first == b.first && a.count == b.count;
}

TEST(UnitSpace, OfAKvGroupOwnsItsKeysValuesAndTheQueryHeadsThatReadThem) {
  // Block 1 has H = 6, G = 3, D = 4: group 1 is read by heads 2 and 3, rows 8-11 and 12-15 of w_q, columns of w_o.
  const Model model = TinyModel(1);
  const UnitSpace space(model, 1, UnitKind::kKvGroup);
  EXPECT_EQ(space.size(), 3);
  const std::vector<Slice> expected = {{Role::kK, Axis::kRows, 4, 4},  {Role::kV, Axis::kRows, 4, 4},
                                       {Role::kQ, Axis::kRows, 8, 4},  {Role::kO, Axis::kColumns, 8, 4},
                                       {Role::kQ, Axis::kRows, 12, 4}, {Role::kO, Axis::kColumns, 12, 4}};
  const std::vector<Slice> owned = space.Owns(1);
  ASSERT_EQ(owned.size(), expected.size());
  for (size_t i = 0; i < owned.size(); ++i) EXPECT_TRUE(owned[i] == expected[i]) << i;
  EXPECT_EQ(space.consumer(), Role::kO);
  EXPECT_EQ(space.ConsumerColumns(1), (std::vector<int64_t>{8, 9, 10, 11, 12, 13, 14, 15}));
}

TEST(UnitSpace, OfAnFfnChannelOwnsTheWholeNeuron) {
  const Model model = TinyModel(1);
  const UnitSpace space(model, 2, UnitKind::kFfnChannel);
  EXPECT_EQ(space.size(), 28);
  const std::vector<Slice> owned = space.Owns(5);
  ASSERT_EQ(owned.size(), 3u);
  EXPECT_TRUE(owned[0] == (Slice{Role::kGate, Axis::kRows, 5, 1}));
  EXPECT_TRUE(owned[1] == (Slice{Role::kUp, Axis::kRows, 5, 1}));
  EXPECT_TRUE(owned[2] == (Slice{Role::kDown, Axis::kColumns, 5, 1}));
  EXPECT_EQ(space.ConsumerColumns(5), (std::vector<int64_t>{5}));
}

TEST(UnitSpace, CountsCostsWorkedByHand) {
  // C = 16, D = 4, two query heads a group: q 8 rows, k 4, v 4, o 8 columns, each of 16: (8 + 4 + 4 + 8) * 16 = 384.
  // A channel: 3 * 16 = 48. With biases a group also loses those of its rows, 8 + 4 + 4 = 16; a channel 2.
  const Model plain = TinyModel(1);
  const UnitCost group = UnitSpace(plain, 1, UnitKind::kKvGroup).Cost(2);
  EXPECT_EQ(group.parameters, 384);
  EXPECT_EQ(group.macs, 384);
  EXPECT_EQ(group.kv_width, 8);
  const UnitCost channel = UnitSpace(plain, 1, UnitKind::kFfnChannel).Cost(0);
  EXPECT_EQ(channel.parameters, 48);
  EXPECT_EQ(channel.kv_width, 0);

  TinyShape shape;
  shape.biases = true;
  const Model biased = TinyModel(1, shape);
  EXPECT_EQ(UnitSpace(biased, 1, UnitKind::kKvGroup).Cost(0).parameters, 400);
  EXPECT_EQ(UnitSpace(biased, 1, UnitKind::kKvGroup).Cost(0).macs, 384);
  EXPECT_EQ(UnitSpace(biased, 1, UnitKind::kFfnChannel).Cost(0).parameters, 50);
}

TEST(UnitSpace, SharesOutEveryWeightOfTheLinearLayersExactlyOnce) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(2, shape);
    for (int64_t l = 0; l < model.config.L(); ++l) {
      std::map<Role, at::Tensor> owners;  // how many units own each weight
      for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel}) {
        const UnitSpace space(model, l, kind);
        for (int64_t unit = 0; unit < space.size(); ++unit)
          for (const Slice& slice : space.Owns(unit)) {
            auto [count, added] = owners.try_emplace(slice.role);
            if (added) count->second = at::zeros_like(model.blocks[static_cast<size_t>(l)].At(slice.role).weight);
            count->second.narrow(slice.axis == Axis::kRows ? 0 : 1, slice.first, slice.count).add_(1);
          }
      }
      ASSERT_EQ(owners.size(), shape.gate == GateKind::kNone ? 7u : 8u) << name;
      for (const auto& [role, count] : owners)
        EXPECT_TRUE(count.eq(1).all().item<bool>()) << "block " << l << " " << RoleName(role);
    }
  }
}

TEST(UnitSpace, CostsAreTheParametersThatCuttingEveryUnitTakesAway) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(2, shape);
    // All of block 0 but what no unit owns: norms of the residual stream, norms of single heads, output biases.
    int64_t owned = 0, all = 0;
    for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel}) {
      const UnitSpace space(model, 0, kind);
      for (int64_t unit = 0; unit < space.size(); ++unit) owned += space.Cost(unit).parameters;
    }
    for (const NamedTensorRef& ref : TensorsOf(const_cast<Model&>(model))) {
      const bool kept =
          ref.name.ends_with("attention_norm") || ref.name.ends_with("attention_post_norm") ||
          ref.name.find("ffn_") != std::string::npos || ref.name.ends_with("w_o.bias") ||
          ref.name.ends_with("w_down.bias") ||
          (shape.qk_norm == QkNorm::kPerHead && ref.name.find("k_norm") + 1 + ref.name.find("q_norm") + 1 > 0);
      if (ref.name.starts_with("block0.") && !kept) all += ref.tensor->numel();
    }
    EXPECT_EQ(owned, all) << name;
  }
}

TEST(UnitSpace, OfAnAbsentSublayerIsEmpty) {
  const Model model = TinyModel(3, {.blocks = {{4, 2, 0}, {0, 0, 8}}});
  EXPECT_EQ(UnitSpace(model, 0, UnitKind::kFfnChannel).size(), 0);
  EXPECT_EQ(UnitSpace(model, 1, UnitKind::kKvGroup).size(), 0);
  EXPECT_THROW(UnitSpace(model, 1, UnitKind::kKvGroup).Owns(0), InternalError);
}

// Block 1 of the tiny model: H = 6, G = 3, F = 20; C = 16, D = 4, V = 32.
void ExpectOwns(const UnitSpace& space, int64_t unit, const std::vector<Slice>& expected) {
  const std::vector<Slice> owned = space.Owns(unit);
  ASSERT_EQ(owned.size(), expected.size());
  for (size_t i = 0; i < owned.size(); ++i) EXPECT_TRUE(owned[i] == expected[i]) << i;
}

TEST(UnitSpace, OfAQueryHeadOwnsItsQueriesAndItsColumnsOfTheOutput) {
  const Model model = TinyModel(1);
  const UnitSpace space(model, 1, UnitKind::kQueryHead);
  EXPECT_EQ(space.size(), 6);
  ExpectOwns(space, 5, {{Role::kQ, Axis::kRows, 20, 4}, {Role::kO, Axis::kColumns, 20, 4}});
  EXPECT_EQ(space.Cost(5).parameters, 8 * 16);
  EXPECT_EQ(space.Cost(5).kv_width, 0);
}

TEST(UnitSpace, OfAValueChannelOwnsItsRowAndItsColumnInEachHeadOfTheGroup) {
  // Row 6 of w_v: group 1, dimension 2, read by heads 2 and 3: columns 2 * 4 + 2 and 3 * 4 + 2.
  TinyShape shape;
  const Model plain = TinyModel(1, shape);
  const UnitSpace space(plain, 1, UnitKind::kValueChannel);
  EXPECT_EQ(space.size(), 12);
  ExpectOwns(space, 6,
             {{Role::kV, Axis::kRows, 6, 1}, {Role::kO, Axis::kColumns, 10, 1}, {Role::kO, Axis::kColumns, 14, 1}});
  EXPECT_EQ(space.ConsumerColumns(6), (std::vector<int64_t>{10, 14}));
  EXPECT_EQ(space.Cost(6).parameters, 3 * 16);
  EXPECT_EQ(space.Cost(6).kv_width, 1);
  shape.gate = GateKind::kElementwise;
  const Model gated = TinyModel(1, shape);
  ExpectOwns(UnitSpace(gated, 1, UnitKind::kValueChannel), 6,
             {{Role::kV, Axis::kRows, 6, 1},
              {Role::kOutputGate, Axis::kRows, 10, 1},
              {Role::kO, Axis::kColumns, 10, 1},
              {Role::kOutputGate, Axis::kRows, 14, 1},
              {Role::kO, Axis::kColumns, 14, 1}});
}

TEST(UnitSpace, OfARotaryPairOwnsBothItsDimensionsOfTheKeysAndOfEveryQueryOfTheGroup) {
  // D = 4: pairs (0, 2) and (1, 3). Pair 3 is the second of group 1: rows 4 + {1, 3} of w_k, 8 and 12 + {1, 3} of w_q.
  const Model model = TinyModel(1);
  const UnitSpace space(model, 1, UnitKind::kQkPair);
  EXPECT_EQ(space.size(), 6);
  ExpectOwns(space, 3,
             {{Role::kK, Axis::kRows, 5, 1},
              {Role::kK, Axis::kRows, 7, 1},
              {Role::kQ, Axis::kRows, 9, 1},
              {Role::kQ, Axis::kRows, 13, 1},
              {Role::kQ, Axis::kRows, 11, 1},
              {Role::kQ, Axis::kRows, 15, 1}});
  EXPECT_EQ(space.Cost(3).parameters, 6 * 16);
  EXPECT_EQ(space.Cost(3).kv_width, 2);
  EXPECT_TRUE(Consumers(UnitKind::kQkPair).empty());
  EXPECT_THROW(space.ConsumerColumns(3), InternalError);
}

TEST(QkPairs, PairTheTurningHalvesAndThenNeighboursThatDoNotTurn) {
  ModelConfig config;
  config.D = 8;
  EXPECT_EQ(QkPairs(config, {}), (std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {1, 5}, {2, 6}, {3, 7}}));
  config.rope.rotated = 4;
  EXPECT_EQ(QkPairs(config, {}), (std::vector<std::pair<int64_t, int64_t>>{{0, 2}, {1, 3}, {4, 5}, {6, 7}}));
}

TEST(UnitSpace, OfSublayersAndBlocksOwnsAllTheirWidth) {
  for (const auto& [name, shape] : FamilyShapes()) {
    SCOPED_TRACE(name);
    const Model model = TinyModel(2, shape);
    int64_t groups = 0, channels = 0;
    for (const UnitKind kind : {UnitKind::kKvGroup, UnitKind::kFfnChannel}) {
      const UnitSpace space(model, 1, kind);
      for (int64_t unit = 0; unit < space.size(); ++unit)
        (kind == UnitKind::kKvGroup ? groups : channels) += space.Cost(unit).parameters;
    }
    // Norms of single heads belong to no group, but go with the attention.
    if (shape.qk_norm == QkNorm::kPerHead) groups += 2 * shape.D;
    EXPECT_EQ(UnitSpace(model, 1, UnitKind::kAttention).Cost(0).parameters, groups);
    EXPECT_EQ(UnitSpace(model, 1, UnitKind::kFfn).Cost(0).parameters, channels);
    EXPECT_EQ(UnitSpace(model, 1, UnitKind::kBlock).Cost(0).parameters, groups + channels);
    EXPECT_EQ(UnitSpace(model, 1, UnitKind::kBlock).ConsumerColumns(Role::kDown, 0).size(), 20u);
    EXPECT_EQ(UnitSpace(model, 1, UnitKind::kBlock).ConsumerColumns(Role::kO, 0).size(), 24u);
  }
}

TEST(UnitSpace, OfResidualChannelsHasEveryParameterThatHasTheModelsWidth) {
  // All that is left of a model without residual channels: norms of queries and keys, sink logits, biases of layers
  // that do not write to the stream.
  for (const auto& [name, shape] : FamilyShapes()) {
    SCOPED_TRACE(name);
    const Model model = TinyModel(2, shape);
    int64_t left = 0;
    for (const NamedTensorRef& ref : TensorsOf(const_cast<Model&>(model)))
      if (std::find(ref.tensor->sizes().begin(), ref.tensor->sizes().end(), shape.C) == ref.tensor->sizes().end())
        left += ref.tensor->numel();
    const UnitSpace space(model, kWholeModel, UnitKind::kResidualChannel);
    EXPECT_EQ(space.size(), shape.C);
    // Of block 0, H*D = 16 = C: its query biases and norms have that size too, and are no part of the width.
    int64_t same_size = 0;
    const Attention& attention = model.blocks[0].attention;
    for (const at::Tensor* tensor : {&attention.w_q.bias, &attention.w_output_gate.bias, &attention.q_norm})
      if (tensor->defined() && tensor->size(0) == shape.C) same_size += shape.C;
    EXPECT_EQ(shape.C * space.Cost(0).parameters + left + same_size, CountParameters(model));
    EXPECT_THROW(space.Owns(0), InternalError);
  }
}

TEST(UnitKind, ReadsBackWhatItWritesAndNamesTheNearestOfAnother) {
  for (const UnitKindInfo& info : UnitKinds()) {
    EXPECT_EQ(ParseUnitKind(UnitKindName(info.kind)), info.kind);
    EXPECT_EQ(&InfoOf(info.kind), &info);
  }
  EXPECT_NE(MessageOf([] { ParseUnitKind("kv_groups"); }).find("Nearest: kv_group"), std::string::npos);
}

TEST(UnitText, NamesTheUnitAsAPersonWould) {
  EXPECT_EQ(UnitText({11, UnitKind::kFfnChannel, 1229}), "ffn_channel 1229 of block 11");
  EXPECT_EQ(UnitText({3, UnitKind::kAttention, 0}), "attention of block 3");
  EXPECT_EQ(UnitText({3, UnitKind::kBlock, 0}), "block 3");
  EXPECT_EQ(UnitText({kWholeModel, UnitKind::kResidualChannel, 507}), "residual_channel 507");
}

}  // namespace
}  // namespace espalier
