#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "espalier/export/export.h"
#include "espalier/export/gates.h"
#include "espalier/export/stock.h"
#include "espalier/export/verify.h"
#include "espalier/io/gguf.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/load.h"
#include "model/fixture.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// An uneven Llama with SmolLM2's tokenizer, saved as a run would.
class Exporting : public testing::Test {
 protected:
  Exporting() : tokenizer_(Tokenizer::Open(fs::path(ESPALIER_SOURCE_DIR) / "tests/io/fixtures/tokenizer/smollm2")) {
    shape_.V = tokenizer_->vocabulary_size();
    shape_.blocks = {{4, 2, 24}, {0, 0, 20}, {6, 3, 0}, {2, 1, 28}};
    Save(TinyModel(1, shape_));
  }
  void Save(Model model) {
    model_ = std::move(model);
    SaveModel(model_, *tokenizer_, folder_ / "model");
  }
  Exported Export(ExportForm form, const std::string& out,
                  const std::optional<std::string>& type = std::nullopt) const {
    ExportOptions options;
    options.form = form, options.out = folder_ / out, options.type = type;
    return ExportModel({folder_ / "model", folder_ / "model", std::nullopt, std::nullopt}, options);
  }
  Model Load(const std::string& name) const { return LoadModel(folder_ / name, at::kFloat, at::kCPU); }

  TempFolder folder_;
  TinyShape shape_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Model model_;
};

TEST_F(Exporting, PaddedFoldersArePlainLlamasWithTheSameLogits) {
  Model model = TinyModel(1, shape_);
  model.blocks[1].attention.w_o.bias = at::ones({shape_.C}) * 0.1;
  model.blocks[2].ffn.w_down.bias = at::ones({shape_.C}) * -0.2;
  Save(model);
  Export(ExportForm::kPaddedFolder, "padded");
  const Json config = ReadJson(folder_ / "padded" / "config.json");
  EXPECT_FALSE(config.contains("per_layer_config"));
  EXPECT_EQ(config.at("architectures")[0], "LlamaForCausalLM");
  EXPECT_EQ(config.at("intermediate_size"), 28);
  EXPECT_EQ(config.at("head_dim"), 4);
  // One bias asks for all of its flag: zeros. The constant of attention went into the FFN before it.
  EXPECT_EQ(config.at("attention_bias"), false);
  EXPECT_EQ(config.at("mlp_bias"), true);
  const Model padded = Load("padded");
  EXPECT_TRUE(padded.blocks[3].ffn.w_gate.bias.defined());
  EXPECT_LT(LogitDifference(padded, model), 1e-5);
}

TEST_F(Exporting, HuggingFaceFoldersOfUnevenModelsKeepTheirSizes) {
  const Exported exported = Export(ExportForm::kFolder, "hf");
  EXPECT_TRUE(ReadJson(folder_ / "hf" / "config.json").contains("per_layer_config"));
  EXPECT_EQ(ReadJson(folder_ / "hf" / "espalier_export.json").at("stock_transformers"), false);
  EXPECT_EQ(CountParameters(Load("hf")), CountParameters(model_));
  EXPECT_NE(ReadFile(folder_ / "hf" / "README.md").find("scripts/load_uneven.py"), std::string::npos);
  EXPECT_NE(exported.lines.back().find("uneven blocks"), std::string::npos);
}

TEST_F(Exporting, UnevenOnlyByEmptyBlocksIsUniformWithoutThem) {
  shape_.blocks = {{4, 2, 24}, {0, 0, 0}, {4, 2, 24}};
  Save(TinyModel(2, shape_));
  Export(ExportForm::kFolder, "hf");
  const Json config = ReadJson(folder_ / "hf" / "config.json");
  EXPECT_FALSE(config.contains("per_layer_config"));
  EXPECT_EQ(config.at("num_hidden_layers"), 2);
  EXPECT_LT(LogitDifference(Load("hf"), model_), 1e-5);
}

TEST_F(Exporting, CopiesTokenizerTermsAndGenerationSettings) {
  WriteFile(folder_ / "model" / "LICENSE", "terms\n");
  WriteFile(folder_ / "model" / "generation_config.json", "{\"temperature\": 0.5}\n");
  Export(ExportForm::kPaddedFolder, "padded");
  for (const char* name : {"LICENSE", "generation_config.json", "tokenizer.json"})
    EXPECT_EQ(ReadFile(folder_ / "padded" / name), ReadFile(folder_ / "model" / name)) << name;
}

TEST_F(Exporting, SplitsIntoShardsAboveTheSize) {
  ExportOptions options;
  options.form = ExportForm::kFolder, options.out = folder_ / "shards", options.shard_bytes = 20000;
  ExportModel({folder_ / "model", folder_ / "model", std::nullopt, std::nullopt}, options);
  EXPECT_TRUE(fs::exists(folder_ / "shards" / "model.safetensors.index.json"));
  EXPECT_TRUE(BitwiseEqual(Load("shards"), model_));
}

TEST_F(Exporting, GgufBringsATokenizerThatGivesTheSameIds) {
  Export(ExportForm::kGguf, "a.gguf", "f32");
  const GgufFile file(folder_ / "a.gguf");
  EXPECT_EQ(file.Text("tokenizer.ggml.pre"), "smollm");
  const std::string text = "The 3 foxes can't\n jump over \xC3\xA9t\xC3\xA9  <|im_start|>";
  EXPECT_EQ(Tokenizer::Open(folder_ / "a.gguf")->Encode(text), tokenizer_->Encode(text));
  EXPECT_LT(LogitDifference(Load("a.gguf"), model_), 1e-5);
  // From a GGUF file every key of the tokenizer is copied byte for byte.
  ExportOptions options;
  options.out = folder_ / "b.gguf", options.type = "q8_0";
  ExportModel({folder_ / "model", folder_ / "a.gguf", std::nullopt, std::nullopt}, options);
  const GgufFile again(folder_ / "b.gguf");
  for (const auto& [key, value] : file.metadata())
    if (key.starts_with("tokenizer.")) {
      EXPECT_EQ(file.RawValue(key), again.RawValue(key)) << key;
    }
}

TEST_F(Exporting, FromGgufToAFolderAndBackGivesTheSameModel) {
  Export(ExportForm::kGguf, "a.gguf", "f32");
  const auto convert = [&](const std::string& from, const std::string& to, ExportForm form) {
    ExportOptions options;
    options.form = form, options.out = folder_ / to, options.type = form == ExportForm::kGguf ? "f32" : "float32";
    ExportModel({folder_ / from, folder_ / from, std::nullopt, std::nullopt}, options);
  };
  convert("a.gguf", "folder", ExportForm::kPlainFolder);
  convert("folder", "b.gguf", ExportForm::kGguf);
  EXPECT_TRUE(BitwiseEqual(Load("a.gguf"), Load("b.gguf")));
  EXPECT_FALSE(fs::exists(folder_ / "folder" / "README.md"));
}

TEST_F(Exporting, LeavesNothingBehindWhenItFails) {
  const auto names = [&] {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_.path())) found.push_back(entry.path().filename().string());
    std::sort(found.begin(), found.end());
    return found;
  };
  const auto before = names();
  EXPECT_NE(MessageOf([&] { Export(ExportForm::kGguf, "a.gguf", "q2_k"); }).find("unknown tensor type 'q2_k'"),
            std::string::npos);
  model_.blocks[0].attention.w_q.weight = model_.blocks[0].attention.w_q.weight * 1e7;
  SaveModel(model_, *tokenizer_, folder_ / "model");
  EXPECT_NE(MessageOf([&] { Export(ExportForm::kGguf, "a.gguf", "f16"); }).find("blk.0.attn_q.weight: "),
            std::string::npos);
  EXPECT_EQ(names(), before);
}

TEST_F(Exporting, ReplacesItsOwnFoldersOnly) {
  Export(ExportForm::kFolder, "hf");
  EXPECT_NO_THROW(Export(ExportForm::kFolder, "hf"));
  WriteFile(folder_ / "mine" / "thesis.tex", "x");
  EXPECT_NE(MessageOf([&] { Export(ExportForm::kFolder, "mine"); }).find("no export of this program"),
            std::string::npos);
  EXPECT_NE(MessageOf([&] { Export(ExportForm::kFolder, "model"); }).find("is the model itself"), std::string::npos);
}

TEST_F(Exporting, ReplacesItsOwnGgufFilesOnly) {
  Export(ExportForm::kGguf, "a.gguf", "f16");
  EXPECT_NO_THROW(Export(ExportForm::kGguf, "a.gguf", "f16"));
  WriteFile(folder_ / "mine.gguf", "not by this program");
  EXPECT_NE(MessageOf([&] { Export(ExportForm::kGguf, "mine.gguf", "f16"); }).find("mine.gguf"), std::string::npos);
  EXPECT_EQ(ReadFile(folder_ / "mine.gguf"), "not by this program");
  fs::create_directories(folder_ / "folder");
  EXPECT_NE(MessageOf([&] { Export(ExportForm::kGguf, "folder", "f16"); }).find("no export of this program"),
            std::string::npos);
}

TEST_F(Exporting, IntoAFolderNamedWithASlash) {
  Export(ExportForm::kFolder, "hf/");
  EXPECT_NO_THROW(Export(ExportForm::kFolder, "hf/"));
  EXPECT_TRUE(BitwiseEqual(Load("hf"), model_));
}

TEST_F(Exporting, KeepsTheStoredPrecisionWhateverTheConfigSays) {
  Json config = ReadJson(folder_ / "model" / "config.json");
  config["torch_dtype"] = "bfloat16", config["dtype"] = "bfloat16";
  WriteJson(folder_ / "model" / "config.json", config);
  Export(ExportForm::kPlainFolder, "same");
  EXPECT_TRUE(BitwiseEqual(Load("same"), model_));
}

TEST_F(Exporting, WithATokenizerUnderAnotherNameWritesThatOne) {
  const fs::path other = folder_ / "other.json";
  WriteFile(other, ReadFile(folder_ / "model" / "tokenizer.json") + "\n");
  ExportOptions options;
  options.form = ExportForm::kFolder, options.out = folder_ / "hf";
  ExportModel({folder_ / "model", other, std::nullopt, std::nullopt}, options);
  EXPECT_EQ(ReadFile(folder_ / "hf" / "tokenizer.json"), ReadFile(other));
}

TEST_F(Exporting, RefusesATokenizerThatIsNotTheModels) {
  Export(ExportForm::kGguf, "a.gguf", "f16");
  shape_.V = 300;
  Save(TinyModel(1, shape_));
  for (const ExportForm form : {ExportForm::kFolder, ExportForm::kGguf}) {
    ExportOptions options;
    options.form = form, options.out = folder_ / "out.gguf";
    EXPECT_NE(MessageOf([&] {
                ExportModel({folder_ / "model", folder_ / "a.gguf", {}, {}}, options);
              }).find("the model 300 embeddings; expected as many"),
              std::string::npos);
  }
}

TEST(ExportOptions, SayWhatTheyExpect) {
  EXPECT_EQ(ParseBytes("5GB"), 5000000000);
  EXPECT_EQ(ParseBytes("1.5kB"), 1500);
  EXPECT_EQ(ParseBytes("7"), 7);
  for (const char* wrong : {"", "GB", "0", "-3MB", "5 apples", "1e30GB"})
    EXPECT_NE(MessageOf([&] { ParseBytes(wrong); }).find("is no size"), std::string::npos) << wrong;
  EXPECT_EQ(MessageOf([] { ParseExportForm("ggfu"); }).substr(0, 27), "export: unknown form 'ggfu'");
}

TEST(StockTransformers, AQwen2WithOtherBiasesIsALlama) {
  TinyShape shape = EvenShape();
  Model model = TinyModel(3, shape);
  model.config.family = "qwen2";
  model.blocks[0].attention.w_q.bias = at::ones({16});
  EXPECT_EQ(ForStockTransformers(model).config.family, "qwen2");
  EXPECT_TRUE(ForStockTransformers(model).blocks[1].attention.w_v.bias.defined());
  model.blocks[2].ffn.w_down.bias = at::ones({16});
  const Model llama = ForStockTransformers(model);
  EXPECT_EQ(llama.config.family, "llama");
  EXPECT_TRUE(llama.blocks[0].attention.w_o.bias.defined());
  EXPECT_LT(LogitDifference(llama, model), 1e-6);
  model.config.family = "qwen3";
  EXPECT_NE(MessageOf([&] { ForStockTransformers(model); }).find("biases of the FFN"), std::string::npos);
}

TEST(GateLayouts, AreTheSameModel) {
  const Model a = LoadModel(Fixture("tiny-qwen3-gated-elementwise"), at::kFloat, at::kCPU);
  const Model b = LoadModel(Fixture("tiny-qwen3-gated-headwise"), at::kFloat, at::kCPU);
  EXPECT_EQ(LogitDifference(WithGateLayout(a, "C"), a), 0);
  EXPECT_EQ(WithGateLayout(a, "C").config.gate_layout, GateLayout::kPerHead);
  EXPECT_LT(LogitDifference(WithGateLayout(b, "A"), b), 1e-6);
  EXPECT_TRUE(BitwiseEqual(WithGateLayout(WithGateLayout(b, "C"), "B"), b));
  EXPECT_NE(MessageOf([&] { WithGateLayout(a, "B"); }).find("has a score for each channel"), std::string::npos);
  EXPECT_NE(MessageOf([&] { WithGateLayout(a, "D"); }).find("unknown gate layout 'D'"), std::string::npos);
  EXPECT_NE(MessageOf([] { WithGateLayout(TinyModel(1), "A"); }).find("no output gates"), std::string::npos);
}

}  // namespace
}  // namespace espalier
