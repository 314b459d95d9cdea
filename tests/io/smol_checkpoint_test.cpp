#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "espalier/core/hash.h"
#include "espalier/io/checkpoint.h"
#include "espalier/io/gguf.h"
#include "support/support.h"

namespace espalier {
namespace {

// Expected figures: scripts/make_dequantize_fixture.py --model FILE, which reads the file with gguf-py.
class SmolCheckpoint : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(ModelPath())) GTEST_SKIP() << ModelPath() << " is not there";
    checkpoint_ = Checkpoint::Open(ModelPath());
  }
  std::unique_ptr<Checkpoint> checkpoint_;
};

TEST_F(SmolCheckpoint, HasTheTensorsAndMetadataThatTheReferenceReads) {
  const GgufFile& file = checkpoint_->Gguf();
  EXPECT_EQ(file.tensors().size(), 272U);
  EXPECT_EQ(file.metadata().size(), 33U);
  EXPECT_EQ(file.Text("general.architecture"), "llama");
  EXPECT_EQ(file.Text("general.name"), "Smollm2 135M 8k Lc100K Mix1 Ep2");
  EXPECT_EQ(file.TextList("general.languages"), std::vector<std::string>{"en"});
  EXPECT_EQ(file.Int("llama.block_count"), 30);
  EXPECT_EQ(file.Int("llama.embedding_length"), 576);
  EXPECT_EQ(file.Int("llama.feed_forward_length"), 1536);
  EXPECT_EQ(file.IntList("llama.attention.head_count"), std::vector<int64_t>{9});
  EXPECT_EQ(file.Int("llama.attention.head_count_kv"), 3);
  EXPECT_EQ(file.Real("llama.rope.freq_base"), 100000.0);
  EXPECT_EQ(file.Real("llama.attention.layer_norm_rms_epsilon"), 9.999999747378752e-06);
  EXPECT_FALSE(file.Bool("tokenizer.ggml.add_bos_token"));
  EXPECT_EQ(file.TextList("tokenizer.ggml.tokens").size(), 49152U);
  EXPECT_EQ(file.TextList("tokenizer.ggml.tokens").back(), "ectable");
  EXPECT_EQ(file.TextList("tokenizer.ggml.merges").size(), 48900U);
  EXPECT_EQ(file.TextList("tokenizer.ggml.merges").back(), "ect able");
  EXPECT_EQ(file.IntList("tokenizer.ggml.token_type").size(), 49152U);
  EXPECT_EQ(checkpoint_->Shape("token_embd.weight"), (std::vector<int64_t>{49152, 576}));
  EXPECT_EQ(checkpoint_->Shape("blk.0.ffn_down.weight"), (std::vector<int64_t>{576, 1536}));
  EXPECT_EQ(file.Find("token_embd.weight")->type, GgmlType::kQ8_0);
  EXPECT_EQ(file.Find("token_embd.weight")->offset, 1785664U);
  EXPECT_EQ(file.Find("blk.0.ffn_down.weight")->offset, 31868992U);
}

TEST_F(SmolCheckpoint, ReadsEveryTensorToTheBitsOfTheReference) {
  Sha256 hash;
  int64_t elements = 0, bytes = 0;
  for (const std::string& name : checkpoint_->Names()) {
    const at::Tensor tensor = checkpoint_->Read(name);
    ASSERT_EQ(tensor.scalar_type(), at::kFloat);
    hash.Add(std::span(static_cast<const std::byte*>(tensor.data_ptr()), static_cast<size_t>(tensor.nbytes())));
    elements += tensor.numel();
    bytes += checkpoint_->Bytes(name);
  }
  EXPECT_EQ(elements, 134515008);
  EXPECT_EQ(bytes, 96576768);
  EXPECT_EQ(hash.Finish(), "035b238cdb1c3a64e21315cad8d5d362e75ed6f6e847ca3508b006dff3ca3fd6");
}

}  // namespace
}  // namespace espalier
