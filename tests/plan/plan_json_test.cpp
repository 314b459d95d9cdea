#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/plan/plan.h"
#include "support/json_schema.h"
#include "support/support.h"

namespace espalier {
namespace {

// Two blocks; the second lost KV group 1 and FFN channels 0, 3 and 4.
Plan Small() {
  Plan plan;
  plan.model_sha256 = "ab12";
  plan.scorer = "fisher";
  plan.allocator = "global";
  plan.budget_of = "block_parameters";
  plan.requested_share = 0.3;
  plan.achieved_share = 0.2999;
  plan.dense = {100, 150, 600, 48, 140};
  plan.pruned = {70, 120, 480, 40, 110};
  plan.blocks = {{{{UnitKind::kKvGroup, {3, {0, 1, 2}}}, {UnitKind::kFfnChannel, {6, {0, 1, 2, 3, 4, 5}}}}},
                 {{{UnitKind::kKvGroup, {3, {0, 2}}}, {UnitKind::kFfnChannel, {6, {1, 2, 5}}}}}};
  plan.protected_units = {{{1, UnitKind::kFfnChannel, 5}, "spike_producers", "writes 507: 21,024", 2, true},
                          {{0, UnitKind::kKvGroup, 2}, "keep", "asked for", 0, false}};
  return plan;
}

std::string ReadChanged(const std::string& pointer, const Json& value) {
  Json json = PlanToJson(Small());
  json[Json::json_pointer(pointer)] = value;
  return MessageOf([&] { PlanFromJson(json, "plan.json"); });
}

TEST(PlanJson, WritesWhatStaysAsRangesWithCounts) {
  const Json block = PlanToJson(Small())["blocks"][1];
  EXPECT_EQ(block.dump(), R"({"block":1,"kv_groups":{"before":3,"kept":2,"indices":"0, 2"},)"
                          R"("ffn_channels":{"before":6,"kept":3,"indices":"1-2, 5"}})");
}

TEST(PlanJson, ReadsBackWhatItWrote) {
  const Plan plan = PlanFromJson(ParseJson(DumpJson(PlanToJson(Small())), "plan.json"), "plan.json");
  EXPECT_EQ(plan.model_sha256, "ab12");
  EXPECT_EQ(plan.scorer, "fisher");
  EXPECT_EQ(plan.allocator, "global");
  EXPECT_EQ(plan.budget_of, "block_parameters");
  EXPECT_EQ(plan.requested_share, 0.3);
  EXPECT_EQ(plan.achieved_share, 0.2999);
  EXPECT_EQ(plan.dense.macs, 140);
  EXPECT_EQ(plan.pruned.kv_bytes, 40);
  ASSERT_EQ(plan.blocks.size(), 2u);
  EXPECT_EQ(plan.blocks[1].At(UnitKind::kKvGroup).kept, (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(plan.blocks[1].At(UnitKind::kFfnChannel).kept, (std::vector<int64_t>{1, 2, 5}));
  EXPECT_EQ(plan.blocks[1].At(UnitKind::kFfnChannel).before, 6);
  ASSERT_EQ(plan.protected_units.size(), 2u);
  EXPECT_EQ(plan.protected_units[0].unit, (Unit{1, UnitKind::kFfnChannel, 5}));
  EXPECT_EQ(plan.protected_units[0].reason, "writes 507: 21,024");
  EXPECT_EQ(plan.protected_units[0].rank, 2);
  EXPECT_TRUE(plan.protected_units[0].would_cut);
  EXPECT_EQ(plan.protected_units[1].unit.kind, UnitKind::kKvGroup);
}

TEST(PlanJson, ListsTheKindsThatThePlanTouchesAndNoOthers) {
  Plan plan = Small();
  plan.blocks[0].At(UnitKind::kQueryHead) = {6, {0, 1, 5}};
  plan.blocks[0].At(UnitKind::kBlock) = {1, {0}};
  plan.residual_channels = {16, {0, 2, 3}};
  plan.protected_units.push_back({{kWholeModel, UnitKind::kResidualChannel, 2}, "keep", "asked for", 0, false});
  const Json json = PlanToJson(plan);
  EXPECT_EQ(json["blocks"][0]["query_heads"].dump(), R"({"before":6,"kept":3,"indices":"0-1, 5"})");
  EXPECT_EQ(json["blocks"][0]["blocks"].dump(), R"({"before":1,"kept":1,"indices":"0"})");
  EXPECT_FALSE(json["blocks"][1].contains("query_heads"));
  EXPECT_EQ(json["residual_channels"].dump(), R"({"before":16,"kept":3,"indices":"0, 2-3"})");
  EXPECT_FALSE(PlanToJson(Small()).contains("residual_channels"));
  EXPECT_EQ(SchemaCheck::Problems(json, "plan-1"), std::vector<std::string>());
  const Plan read = PlanFromJson(json, "plan.json");
  EXPECT_EQ(read.blocks[0].At(UnitKind::kQueryHead).kept, (std::vector<int64_t>{0, 1, 5}));
  EXPECT_EQ(read.residual_channels->before, 16);
  EXPECT_EQ(read.protected_units[2].unit, (Unit{kWholeModel, UnitKind::kResidualChannel, 2}));
  EXPECT_EQ(DumpJson(PlanToJson(read)), DumpJson(json));
}

TEST(Keeps, AsksTheListOfTheKindAndForSublayersWhetherAnythingIsLeft) {
  Plan plan = Small();
  plan.blocks[0].At(UnitKind::kFfnChannel).kept.clear();
  plan.blocks[1].At(UnitKind::kQueryHead) = {6, {0}};
  EXPECT_TRUE(Keeps(plan, {1, UnitKind::kKvGroup, 2}));
  EXPECT_FALSE(Keeps(plan, {1, UnitKind::kKvGroup, 1}));
  EXPECT_FALSE(Keeps(plan, {1, UnitKind::kQueryHead, 1}));
  EXPECT_TRUE(Keeps(plan, {0, UnitKind::kQueryHead, 1}));  // not listed: nothing was removed on its own
  EXPECT_TRUE(Keeps(plan, {0, UnitKind::kAttention, 0}));
  EXPECT_FALSE(Keeps(plan, {0, UnitKind::kFfn, 0}));
  EXPECT_TRUE(Keeps(plan, {0, UnitKind::kBlock, 0}));
  EXPECT_TRUE(Keeps(plan, {kWholeModel, UnitKind::kResidualChannel, 3}));
  plan.residual_channels = {16, {0, 2}};
  EXPECT_FALSE(Keeps(plan, {kWholeModel, UnitKind::kResidualChannel, 3}));
}

TEST(PlanJson, NamesFileAndKeyOfAMistake) {
  EXPECT_EQ(ReadChanged("/schema", "espalier.plan/2"),
            "plan.json: schema: expected 'espalier.plan/1', found 'espalier.plan/2'; this version reads no other");
  EXPECT_EQ(ReadChanged("/cost/dense/bytes", 1.5),
            "plan.json: cost.dense.bytes: expected a whole number of at least 0, found 1.5");
  EXPECT_EQ(ReadChanged("/blocks/1/kv_groups/kept", 4),
            "plan.json: blocks[1].kv_groups.kept: expected a whole number from 0 to 3, found 4");
  EXPECT_EQ(ReadChanged("/blocks/1/ffn_channels/kept", 4),
            "plan.json: blocks[1].ffn_channels.kept: is 4, but the indices name 3 units");
  EXPECT_EQ(ReadChanged("/blocks/0/block", 1),
            "plan.json: blocks[0].block: expected a whole number from 0 to 0, found 1");
  EXPECT_EQ(ReadChanged("/protected_units/0/index", 6),
            "plan.json: protected_units[0].index: expected a whole number from 0 to 5, found 6");
  EXPECT_EQ(ReadChanged("/protected_units/0/kind", "kv_grup"),
            "plan.json: protected_units[0].kind: unknown unit kind 'kv_grup'. Nearest: kv_group. Known: kv_group, "
            "query_head, value_channel, qk_pair, ffn_channel, attention, ffn, block, residual_channel.");
  EXPECT_EQ(ReadChanged("/budget/share", 1),
            "plan.json: budget.share: unknown key 'share'. Known: of, requested_share, achieved_share.");
}

TEST(PlanJson, RefusesAClaimOfMoreUnitsThanABlockCanHave) {
  EXPECT_EQ(ReadChanged("/blocks/0/kv_groups/before", int64_t{1} << 40),
            "plan.json: blocks[0].kv_groups.before: expected a whole number from 0 to 16777216, "
            "found 1099511627776");
}

TEST(PlanRanges, AreReadOnlyWhenAscendingAndInRange) {
  EXPECT_EQ(ParseRanges("", 9), std::vector<int64_t>{});
  EXPECT_EQ(ParseRanges("0-2, 5, 7-8", 9), (std::vector<int64_t>{0, 1, 2, 5, 7, 8}));
  for (const char* bad : {"0-9", "2-1", "3, 3", "5, 4", "0-2, 2-3", "0,1", "0-", "-1", "a", "1, ", ", 1", "1-2-3",
                          "0-99999999999999999999", " 1", "1 - 2", "1--2"})
    EXPECT_EQ(ParseRanges(bad, 9), std::nullopt) << bad;
}

}  // namespace
}  // namespace espalier
