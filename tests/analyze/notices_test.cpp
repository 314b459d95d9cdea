#include "espalier/analyze/notices.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "espalier/analyze/analyze.h"
#include "support/golden.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

struct Case {
  std::string name;
  Phenomena phenomena;
  ModelConfig config;
};

// Four blocks of two heads, a spike of 2,000 medians, no sink.
Phenomena Sample() {
  Phenomena phenomena;
  phenomena.sequences = 16;
  phenomena.sequence_length = 512;
  phenomena.spike_channels = {11};
  phenomena.blocks.resize(4);
  for (BlockPhenomena& block : phenomena.blocks) {
    block.heads.resize(2);
    block.ffn.residual_max = 2000;
    block.ffn.residual_median = 1;
  }
  return phenomena;
}

void SetHeads(Phenomena& phenomena) {
  phenomena.blocks[1].heads[0].head_class = HeadClass::kNoOp;
  phenomena.blocks[2].heads[0].head_class = HeadClass::kNoOp;
  phenomena.blocks[2].heads[1].head_class = HeadClass::kBroadcast;
}

void SetRatios(Phenomena& phenomena, double ratio) {
  for (BlockPhenomena& block : phenomena.blocks) block.ffn.residual_max = ratio;
}

void SetGates(Phenomena& phenomena, GateForm form, size_t from) {
  for (size_t l = from; l < phenomena.blocks.size(); ++l) phenomena.blocks[l].gate.emplace().form = form;
}

Case DenseLlama() {
  Case c{"dense llama", Sample(), {}};
  SetHeads(c.phenomena);
  c.phenomena.outliers.ratio = 64;
  c.phenomena.scan.emplace().ratio_limit = 5;
  c.phenomena.vocabulary.emplace().threshold = 123.456;
  return c;
}

Case Gated() {
  Case c{"gated, nothing spikes", Sample(), {}};
  c.phenomena.spike_channels.clear();
  SetRatios(c.phenomena, 61);
  SetGates(c.phenomena, GateForm::kHeadwise, 0);
  return c;
}

Case SinkLogits() {
  Case c{"sink logits, few tokens", Sample(), {}};
  c.phenomena.sequences = 2;
  SetGates(c.phenomena, GateForm::kSinkLogit, 1);
  for (const size_t l : {1u, 3u}) c.phenomena.blocks[l].window = 128;
  return c;
}

Case Qwen3() {
  Case c{"Qwen3", Sample(), {}};
  c.config.qk_norm = QkNorm::kPerHead;
  SetRatios(c.phenomena, 420);
  SetHeads(c.phenomena);
  return c;
}

Case Gemma3() {
  Case c{"Gemma 3", Sample(), {}};
  c.config.qk_norm = QkNorm::kPerHead;
  c.config.activation = Activation::kGeluTanh;
  c.phenomena.blocks[0].window = 128;
  c.phenomena.blocks[1].window = 256;
  c.phenomena.blocks[2].window = 512;  // the whole sequence: as good as none
  return c;
}

TEST(Notices, AreUnchanged) {
  std::string text;
  for (const Case& c : {DenseLlama(), Gated(), SinkLogits(), Qwen3(), Gemma3()}) {
    text += fmt::format("== {}\n", c.name);
    for (const std::string& notice : Notices(c.phenomena, c.config)) text += fmt::format("{}\n", notice);
    text += "\n";
  }
  ExpectGolden("analyze/notices.txt", text);
}

int Mentions(const std::vector<std::string>& notices, const std::string& what) {
  return static_cast<int>(std::count_if(notices.begin(), notices.end(), [&](const std::string& notice) {
    return notice.find(what) != std::string::npos;
  }));
}

TEST(Notices, OfAPlainModelThatSpikesAreTheParametersOnly) {
  const std::vector<std::string> notices = Notices(Sample(), {});
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_EQ(Mentions(notices, "epsilon = 0.3 over T = 64"), 1);
}

TEST(Notices, FollowTheNumberOfTokens) {
  // 2,048 tokens in 4 sequences are enough; one token or one sequence fewer is not.
  Phenomena phenomena = Sample();
  phenomena.sequences = 4;
  EXPECT_EQ(Mentions(Notices(phenomena, {}), "Few tokens"), 0);
  phenomena.sequence_length = 511;
  EXPECT_EQ(Mentions(Notices(phenomena, {}), "Few tokens"), 1);
  phenomena.sequences = 3;
  phenomena.sequence_length = 4096;
  EXPECT_EQ(Mentions(Notices(phenomena, {}), "Few tokens"), 1);
}

TEST(Notices, FollowTheLargestRatioOfBothTaps) {
  Phenomena phenomena = Sample();
  SetRatios(phenomena, 999);
  EXPECT_EQ(Mentions(Notices(phenomena, {}), "Pythia-14M"), 1);
  phenomena.blocks[2].attention.residual_max = 1000;
  phenomena.blocks[2].attention.residual_median = 1;
  EXPECT_EQ(Mentions(Notices(phenomena, {}), "Pythia-14M"), 0);
  phenomena.spike_channels.clear();  // by a limit above 1000
  EXPECT_EQ(Mentions(Notices(phenomena, {}), "No channel spikes; the largest ratio is 1000"), 1);
}

TEST(Notices, WarnOfSinkScoresOnEveryGatedFamily) {
  for (const auto& [name, shape] : FamilyShapes()) {
    const Model model = TinyModel(1, shape);
    const Phenomena phenomena = Analyze(model, RandomIds(1, 2, 8, model.config.V), {.sink_length = 8}, name);
    const bool gated = shape.gate != GateKind::kNone;
    EXPECT_EQ(Mentions(phenomena.notices, "void as a pruning signal"), gated || shape.sink_logits ? 1 : 0) << name;
    EXPECT_EQ(Mentions(phenomena.notices, "gate retrofit is no cure"), gated ? 1 : 0) << name;
    EXPECT_EQ(Mentions(phenomena.notices, "QK-norm alone"), shape.qk_norm != QkNorm::kNone ? 1 : 0) << name;
    EXPECT_EQ(Mentions(phenomena.notices, "GeLU"), shape.activation == Activation::kGeluTanh ? 1 : 0) << name;
    EXPECT_EQ(Mentions(phenomena.notices, "see a window of 3 tokens"), shape.window > 0 ? 1 : 0) << name;
    EXPECT_EQ(Mentions(phenomena.notices, "Few tokens: 16 in sequences of 8"), 1) << name;
  }
}

}  // namespace
}  // namespace espalier
