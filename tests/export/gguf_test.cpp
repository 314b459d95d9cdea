#include "espalier/export/gguf.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/export/shapes.h"
#include "espalier/export/verify.h"
#include "espalier/io/checkpoint.h"
#include "espalier/io/gguf.h"
#include "espalier/io/gguf_writer.h"
#include "espalier/model/load.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

Model Uneven(const std::string& family, bool biases, uint64_t seed = 1) {
  TinyShape shape;
  shape.C = 64, shape.D = 8;
  shape.blocks = {{0, 0, 64}, {4, 2, 32}, {6, 3, 0}, {0, 0, 96}, {4, 1, 40}};
  shape.biases = biases;
  if (family == "qwen3") shape.qk_norm = QkNorm::kPerHead;
  Model model = TinyModel(seed, shape);
  model.config.family = family;
  return model;
}

struct Written {
  TempFolder folder;
  GgufCarrier carrier;
  std::vector<GgufEntry> entries;
  std::vector<std::string> warnings;
  std::filesystem::path path() const { return folder / "model.gguf"; }
};

std::unique_ptr<Written> Write(const Model& model, GgmlType type) {
  auto written = std::make_unique<Written>();
  written->carrier = ChooseGgufCarrier(model);
  written->entries = GgufEntries(written->carrier, type, written->warnings);
  WriteGguf(
      written->carrier, written->entries, type,
      [](GgufWriter& writer) { writer.AddText("tokenizer.ggml.model", "none"); }, written->path());
  return written;
}

TEST(GgufExport, OfAnUnevenLlamaIsDeciAndReadsBackWithTheSameLogits) {
  for (const bool biases : {false, true}) {
    const Model model = Uneven("llama", biases);
    const auto written = Write(model, GgmlType::kF32);
    EXPECT_EQ(written->carrier.architecture, "deci");
    const Model again = LoadModel(written->path(), at::kFloat, at::kCPU);
    EXPECT_EQ(again.config.family, "llama");
    EXPECT_LT(LogitDifference(again, model), 1e-5);
    EXPECT_NO_THROW(VerifyGguf(written->path(), written->carrier, written->entries, model));
  }
}

TEST(GgufExport, FollowsTheEdgeRulesOfDeci) {
  const auto written = Write(Uneven("llama", true), GgmlType::kF32);
  const GgufFile file(written->path());
  // Layer 0 keeps one group of zeros, removed attention has no heads, a removed FFN is one wide.
  EXPECT_EQ(file.IntList("deci.attention.head_count"), (std::vector<int64_t>{1, 4, 6, 0, 4}));
  EXPECT_EQ(file.IntList("deci.attention.head_count_kv"), (std::vector<int64_t>{1, 2, 3, 0, 1}));
  EXPECT_EQ(file.IntList("deci.feed_forward_length"), (std::vector<int64_t>{64, 32, 1, 96, 40}));
  EXPECT_EQ(file.Int("deci.attention.key_length"), 8);
  EXPECT_EQ(file.Int("deci.rope.dimension_count"), 8);
  for (const GgufTensor& tensor : file.tensors()) EXPECT_FALSE(tensor.name.starts_with("blk.3.attn")) << tensor.name;
  const Model again = LoadModel(written->path(), at::kFloat, at::kCPU);
  EXPECT_EQ(again.blocks[0].attention.w_o.weight.abs().max().item<float>(), 0);
  EXPECT_EQ(again.blocks[2].ffn.w_down.weight.abs().max().item<float>(), 0);
}

TEST(GgufExport, PutsConstantsOfRemovedAttentionIntoTheDownProjectionBeforeIt) {
  Model model = Uneven("llama", false);
  const at::Tensor constant = at::arange(64, at::kFloat) * 0.01;
  for (const size_t l : {0, 3}) model.blocks[l].attention.w_o.bias = constant;
  model.blocks[2].ffn.w_down.bias = constant * 2;
  const auto written = Write(model, GgmlType::kF32);
  const Model again = LoadModel(written->path(), at::kFloat, at::kCPU);
  EXPECT_TRUE(at::equal(again.blocks[0].attention.w_o.bias, constant));
  EXPECT_TRUE(at::equal(again.blocks[2].ffn.w_down.bias, constant * 2 + constant));
  EXPECT_LT(LogitDifference(again, model), 1e-5);
}

TEST(GgufExport, OfAQwen2IsDeciWithTurnedRowsAndBiases) {
  const Model model = Uneven("qwen2", true);
  const auto written = Write(model, GgmlType::kF32);
  EXPECT_EQ(written->carrier.architecture, "deci");
  EXPECT_LT(LogitDifference(LoadModel(written->path(), at::kFloat, at::kCPU), model), 1e-5);
  // Rows of a head: half-split 0 1 2 3 | 4 5 6 7 becomes interleaved 0 4 1 5 2 6 3 7.
  const auto checkpoint = Checkpoint::Open(written->path());
  const at::Tensor stored = checkpoint->Read("blk.1.attn_q.bias"), ours = model.blocks[1].attention.w_q.bias;
  EXPECT_TRUE(at::equal(stored.narrow(0, 0, 4), at::stack({ours[0], ours[4], ours[1], ours[5]})));
}

TEST(GgufExport, OfATiedQwen3IsOpenelmWithFusedRows) {
  const Model model = Uneven("qwen3", false);
  const auto written = Write(model, GgmlType::kF32);
  EXPECT_EQ(written->carrier.architecture, "openelm");
  const GgufFile file(written->path());
  EXPECT_EQ(file.IntList("openelm.attention.head_count"), (std::vector<int64_t>{1, 4, 6, 1, 4}));
  EXPECT_EQ(file.Find("blk.1.attn_qkv.weight")->shape, (std::vector<int64_t>{(4 + 2 + 2) * 8, 64}));
  EXPECT_EQ(file.Find("blk.1.attn_q.weight"), nullptr);
  const Model again = LoadModel(written->path(), at::kFloat, at::kCPU);
  EXPECT_EQ(again.config.family, "qwen3");
  EXPECT_LT(LogitDifference(again, model), 1e-5);
}

TEST(GgufExport, OfAnUntiedQwen3IsPaddedUnderItsOwnArchitecture) {
  Model model = Uneven("qwen3", false);
  model.head = at::randn({32, 64}) * 0.1;
  model.config.tied_head = false;
  const auto written = Write(model, GgmlType::kF32);
  EXPECT_EQ(written->carrier.architecture, "qwen3");
  EXPECT_EQ(written->carrier.notes.size(), 1U);
  EXPECT_LT(LogitDifference(LoadModel(written->path(), at::kFloat, at::kCPU), model), 1e-5);
}

TEST(GgufExport, OfUniformModelsKeepsTheArchitectureAndPlainNumbers) {
  for (const auto& [family, architecture] : std::vector<std::pair<std::string, std::string>>{
           {"llama", "llama"}, {"mistral", "llama"}, {"qwen2", "qwen2"}, {"qwen3", "qwen3"}}) {
    TinyShape shape = EvenShape();
    if (family == "qwen3") shape.qk_norm = QkNorm::kPerHead;
    Model model = TinyModel(7, shape);
    model.config.family = family;
    const auto written = Write(model, GgmlType::kF32);
    EXPECT_EQ(written->carrier.architecture, architecture);
    EXPECT_EQ(GgufFile(written->path()).Int(architecture + ".attention.head_count"), 4);
    EXPECT_LT(LogitDifference(LoadModel(written->path(), at::kFloat, at::kCPU), model), 1e-5) << family;
  }
}

TEST(GgufExport, LeavesOutBlocksWithoutSublayersSoThatTheRestMayBeUniform) {
  TinyShape shape;
  shape.blocks = {{4, 2, 24}, {0, 0, 0}, {4, 2, 24}, {0, 0, 0}};
  const Model model = TinyModel(8, shape);
  const auto written = Write(model, GgmlType::kF32);
  EXPECT_EQ(written->carrier.architecture, "llama");
  EXPECT_EQ(GgufFile(written->path()).Int("llama.block_count"), 2);
  EXPECT_LT(LogitDifference(LoadModel(written->path(), at::kFloat, at::kCPU), model), 1e-5);
}

TEST(GgufExport, StoresVectorsAndUnevenRowsAsWhatTheyCanBe) {
  const auto written = Write(Uneven("llama", true), GgmlType::kQ4_0);
  const GgufFile file(written->path());
  EXPECT_EQ(file.Find("token_embd.weight")->type, GgmlType::kQ8_0);  // tied: it is the output matrix
  EXPECT_EQ(file.Find("blk.1.attn_q.weight")->type, GgmlType::kQ4_0);
  EXPECT_EQ(file.Find("blk.1.attn_q.bias")->type, GgmlType::kF32);
  EXPECT_EQ(file.Find("blk.4.ffn_down.weight")->type, GgmlType::kF16);  // rows of 40
  ASSERT_EQ(written->warnings.size(), 1U);
  EXPECT_NE(written->warnings[0].find("no multiple of 32"), std::string::npos) << written->warnings[0];
  EXPECT_NE(written->warnings[0].find("blk.0.attn_output.weight, 8 wide"), std::string::npos) << written->warnings[0];
  EXPECT_NO_THROW(VerifyGguf(written->path(), written->carrier, written->entries, Uneven("llama", true)));
}

TEST(GgufExport, WritesLlama3ScalingAsDivisorsOfFrequencies) {
  Model model = Uneven("llama", false);
  model.config.rope = {.theta = 500000,
                       .scaling = "llama3",
                       .factor = 8,
                       .low_frequency_factor = 1,
                       .high_frequency_factor = 4,
                       .original_positions = 8192};
  const auto written = Write(model, GgmlType::kF32);
  const Model again = LoadModel(written->path(), at::kFloat, at::kCPU);
  EXPECT_EQ(again.config.rope.scaling, "llama3");
  EXPECT_LT(LogitDifference(again, model), 1e-5);
}

TEST(GgufExport, NamesWhatNoArchitectureHolds) {
  const auto refusal = [](const auto& change) {
    Model model = Uneven("llama", false);
    change(model);
    return MessageOf([&] { ChooseGgufCarrier(model); });
  };
  EXPECT_NE(refusal([](Model& model) { model.config.family = "gemma3_text"; }).find("family gemma3_text"),
            std::string::npos);
  EXPECT_NE(refusal([](Model& model) { model.config.blocks[1].window = 16; }).find("sliding windows"),
            std::string::npos);
  EXPECT_NE(refusal([](Model& model) { model.config.attention_scale = 1; }).find("scale of attention"),
            std::string::npos);
  EXPECT_NE(MessageOf([] { ChooseGgufCarrier(Uneven("qwen3", true)); }).find("biases in a Qwen3"), std::string::npos);
}

TEST(GgufCheck, FindsATensorThatIsNotWhatWasWritten) {
  const Model model = Uneven("llama", false);
  const auto written = Write(model, GgmlType::kQ8_0);
  written->entries[3].tensor = written->entries[3].tensor + 1;
  EXPECT_NE(MessageOf([&] {
              VerifyGguf(written->path(), written->carrier, written->entries, model);
            }).find("was not read back as it was written"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] {
              VerifyGguf(written->path(), written->carrier, written->entries, Uneven("llama", false, 9));
            }).find("logits differ"),
            std::string::npos);
}

// The registered carriers, which are read but never written into config.json: "deci", "openelm".
TEST(GgufExport, OfCarriersThatClaimNonsenseIsRefused) {
  const auto message = [](const auto& change) {
    const TempFolder folder;
    GgufWriter writer;
    writer.AddText("general.architecture", "deci");
    writer.AddUint32("deci.block_count", 2);
    writer.AddUint32("deci.embedding_length", 8);
    writer.AddUint32("deci.context_length", 64);
    writer.AddFloat32("deci.attention.layer_norm_rms_epsilon", 1e-5);
    change(writer);
    writer.AddTensor("token_embd.weight", GgmlType::kF32, {4, 8}, [](std::span<std::byte>) {});
    writer.Write(folder / "a.gguf");
    return MessageOf([&] { LoadShapes(folder / "a.gguf", at::kFloat); });
  };
  const auto sizes = [&](std::vector<int64_t> H, std::vector<int64_t> G, std::vector<int64_t> F) {
    return message([&](GgufWriter& writer) {
      writer.AddInt32List("deci.attention.head_count", H);
      writer.AddInt32List("deci.attention.head_count_kv", G);
      writer.AddInt32List("deci.feed_forward_length", F);
    });
  };
  EXPECT_NE(sizes({2}, {1, 1}, {4, 4}).find("has 1 entries, expected 2"), std::string::npos);
  EXPECT_NE(sizes({2, -1}, {1, 1}, {4, 4}).find("is -1, expected 0 to"), std::string::npos);
  EXPECT_NE(sizes({2, 0}, {1, 1}, {4, 4}).find("no query heads and 1 key/value heads"), std::string::npos);
  EXPECT_NE(sizes({2, 3}, {1, 2}, {4, 4}).find("expected a multiple"), std::string::npos);
  EXPECT_NE(sizes({2, 2}, {1, 1}, {4, 0}).find("attention without a feed-forward part"), std::string::npos);
  EXPECT_NE(sizes({0, 2}, {0, 1}, {4, 4}).find("head_count of layer 0 is 0"), std::string::npos);
}

}  // namespace
}  // namespace espalier
