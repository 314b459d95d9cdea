#include <gtest/gtest.h>

#include "espalier/protect/rule.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

std::vector<Protection> Kept(const std::vector<std::string>& units) {
  Options options(Registry<ProtectionRule>::Find("keep").info.options, {{"units", units}}, "test");
  return Registry<ProtectionRule>::Create("keep", options)->Protect({TinyModel(1).config, {}});
}

TEST(Keep, ReadsTheUnitsItIsGiven) {
  const std::vector<Protection> kept = Kept({"1/ffn_channel/19", "0/kv_group/1"});
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0].unit, (Unit{1, UnitKind::kFfnChannel, 19}));
  EXPECT_EQ(kept[1].unit, (Unit{0, UnitKind::kKvGroup, 1}));
  EXPECT_EQ(kept[0].rule, "keep");
  EXPECT_FALSE(kept[0].reason.empty());
}

TEST(Keep, RefusesWhatIsNoUnit) {
  for (const char* text :
       {"", "1", "1/ffn_channel", "/ffn_channel/1", "1/ffn_channel/", "x/ffn_channel/1", "1/ffn_channel/1x",
        "-1/ffn_channel/1", " 1/ffn_channel/1", "1/ffn_channel/99999999999999999999"})
    EXPECT_EQ(MessageOf([&] { Kept({text}); }),
              "protect keep: '" + std::string(text) + "': expected block/kind/index, for example 11/ffn_channel/1229");
  EXPECT_NE(MessageOf([] { Kept({"1/ffn_chanel/1"}); }).find("Nearest: ffn, ffn_channel"), std::string::npos);
  EXPECT_THROW(Kept({"1/ffn_channel/1/1"}), RecipeError);
}

TEST(Keep, RefusesUnitsThatTheModelDoesNotHave) {
  EXPECT_EQ(MessageOf([] { Kept({"3/ffn_channel/0"}); }),
            "protect keep: ffn_channel 0 of block 3: the model has 3 blocks");
  EXPECT_EQ(MessageOf([] { Kept({"1/ffn_channel/20"}); }),
            "protect keep: ffn_channel 20 of block 1: that block has 20");
  EXPECT_EQ(MessageOf([] { Kept({"2/kv_group/1"}); }), "protect keep: kv_group 1 of block 2: that block has 1");
  EXPECT_EQ(MessageOf([] { Kept({"model/residual_channel/16"}); }),
            "protect keep: residual_channel 16: the model has 16");
}

TEST(Keep, TakesUnitsOfEveryKind) {
  for (const UnitKindInfo& info : UnitKinds()) {
    const std::string block = PerModel(info.kind) ? "model" : "1";
    const std::vector<Protection> kept = Kept({block + "/" + std::string(info.name) + "/0"});
    EXPECT_EQ(kept.at(0).unit, (Unit{PerModel(info.kind) ? kWholeModel : 1, info.kind, 0}));
  }
  EXPECT_EQ(MessageOf([] { Kept({"0/residual_channel/5"}); }),
            "protect keep: '0/residual_channel/5': a residual_channel is of the whole model: write "
            "model/residual_channel/5");
  EXPECT_EQ(MessageOf([] { Kept({"model/ffn/0"}); }),
            "protect keep: 'model/ffn/0': a ffn is of a block: write its number");
}

}  // namespace
}  // namespace espalier
