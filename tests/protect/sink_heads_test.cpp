#include <gtest/gtest.h>

#include "espalier/protect/rule.h"
#include "support/support.h"

namespace espalier {
namespace {

HeadPhenomena Head(HeadClass head_class, double mass, double written) {
  HeadPhenomena head;
  head.head_class = head_class;
  head.first_token_mass = mass;
  head.value_norm_ratio = head_class == HeadClass::kNoOp ? 0.05 : 0.9;
  head.written_norm = written;
  return head;
}

// One block, four heads in two groups; the mean written norm is (0.5 + 4 + 2 + 1.5) / 4 = 2.
struct Case {
  ModelConfig model;
  Phenomena phenomena;
  Case() {
    BlockConfig block;
    block.H = 4;
    block.G = 2;
    block.kv_of_head = {0, 0, 1, 1};
    model.blocks = {block};
    phenomena.blocks.resize(1);
    phenomena.blocks[0].heads = {Head(HeadClass::kNoOp, 0.9, 0.5), Head(HeadClass::kNonSink, 0.1, 4),
                                 Head(HeadClass::kBroadcast, 0.6, 2), Head(HeadClass::kBroadcast, 0.5, 1.5)};
  }
};

std::vector<int64_t> Groups(const Case& test, std::map<std::string, OptionValue> options) {
  const auto& entry = Registry<ProtectionRule>::Find("sink_heads");
  std::vector<int64_t> groups;
  for (const Protection& protection :
       entry.make(Options(entry.info.options, std::move(options), "test"))->Protect({test.model, test.phenomena})) {
    EXPECT_EQ(protection.rule, "sink_heads");
    if (protection.unit.kind == UnitKind::kKvGroup) groups.push_back(protection.unit.index);
  }
  return groups;
}

TEST(SinkHeads, ByDefaultKeepBroadcastSinksThatWriteAtLeastTheMeanOfTheirBlock) {
  EXPECT_EQ(Groups({}, {}), (std::vector<int64_t>{1}));
  Case quiet;
  quiet.phenomena.blocks[0].heads[2].written_norm = 1.9;  // the mean falls to 1.975
  EXPECT_EQ(Groups(quiet, {}), std::vector<int64_t>{});
}

TEST(SinkHeads, SplitNoOpFromBroadcast) {
  EXPECT_EQ(Groups({}, {{"heads", std::string("no_op")}, {"written", 0.0}}), (std::vector<int64_t>{0}));
  EXPECT_EQ(Groups({}, {{"heads", std::string("broadcast")}, {"written", 0.0}}), (std::vector<int64_t>{1}));
  EXPECT_EQ(Groups({}, {{"heads", std::string("all")}, {"written", 0.0}}), (std::vector<int64_t>{0, 1}));
}

TEST(SinkHeads, CountOnlyFromTheirMassOn) {
  EXPECT_EQ(Groups({}, {{"heads", std::string("all")}, {"written", 0.0}, {"mass", 0.7}}), (std::vector<int64_t>{0}));
}

TEST(SinkHeads, SayWhichHeadAndWithWhatFigures) {
  const Case test;
  const auto protections = Registry<ProtectionRule>::Create("sink_heads")->Protect({test.model, test.phenomena});
  ASSERT_EQ(protections.size(), 3u);
  EXPECT_EQ(protections[0].unit, (Unit{0, UnitKind::kKvGroup, 1}));
  EXPECT_EQ(protections[1].unit, (Unit{0, UnitKind::kQueryHead, 2}));
  EXPECT_EQ(protections[2].unit, (Unit{0, UnitKind::kAttention, 0}));
  EXPECT_EQ(
      protections[0].reason,
      "head 2 is a broadcast sink: attention to the first token 0.60, value-norm ratio 0.90, writes 1.00 times the "
      "mean of its block");
}

}  // namespace
}  // namespace espalier
