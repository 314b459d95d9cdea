// Every model family against transformers: tiny checkpoints made by scripts/make_family_fixtures.py.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "espalier/core/json.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"
#include "fixture.h"
#include "support/letter_tokenizer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// Values of order 1 to 10 through two or three blocks of float32 sums.
constexpr double kParity = 1e-4;

struct Case {
  const char* folder;
  const char* family;  // registered name
};
// gtest prints it.
void PrintTo(const Case& value, std::ostream* stream) {
  *stream << value.folder;
}

const Case kCases[] = {{"tiny-mistral", "mistral"},
                       {"tiny-qwen2", "qwen2"},
                       {"tiny-qwen2-window", "qwen2"},
                       {"tiny-qwen3", "qwen3"},
                       {"tiny-qwen3-gated-elementwise", "qwen3"},
                       {"tiny-qwen3-gated-headwise", "qwen3"},
                       {"tiny-qwen3-next", "qwen3_next"},
                       {"tiny-gemma3", "gemma3_text"},
                       {"tiny-olmo2", "olmo2"},
                       {"tiny-sinks", "llama"},
                       {"tiny-rope-yarn", "llama"},
                       {"tiny-rope-linear", "llama"},
                       {"tiny-gemma3-gguf", "gemma3_text"}};

class Families : public testing::TestWithParam<Case> {};

TEST_P(Families, MatchTransformersInEveryTapAndInLogits) {
  const at::NoGradGuard no_grad;
  const fs::path folder = Fixture(GetParam().folder);
  const Model model = LoadModel(folder, at::kFloat, at::kCPU);
  EXPECT_EQ(model.config.family, GetParam().family);
  const NamedTensors expected = LoadTensors(folder / "taps.safetensors");
  TapComparer comparer(expected, kParity);
  Logits(model, expected.at("input_ids"), &comparer);
  size_t taps = 0;
  for (const auto& [name, tensor] : expected) taps += name != "input_ids" && name != "logits_untruncated";
  EXPECT_EQ(comparer.compared, taps) << "a tap of the dump was never seen";
  RecordProperty("largest_difference", fmt::format("{:.1e}", comparer.largest));
}

TEST_P(Families, AreBitEqualAfterSavingAndLoading) {
  const at::NoGradGuard no_grad;
  const fs::path folder = Fixture(GetParam().folder);
  const Model model = LoadModel(folder, at::kFloat, at::kCPU);
  const TempFolder temp;
  SaveModel(model, LetterTokenizer(model.config.V), temp / "saved");
  const Model again = LoadModel(temp / "saved", at::kFloat, at::kCPU);
  EXPECT_TRUE(BitwiseEqual(model, again));
  const at::Tensor ids = LoadTensors(folder / "taps.safetensors").at("input_ids");
  EXPECT_TRUE(at::equal(Logits(model, ids), Logits(again, ids)));
}

TEST_P(Families, HaveTheSameShapesFromHeadersAlone) {
  const fs::path folder = Fixture(GetParam().folder);
  EXPECT_EQ(CountParameters(LoadShapes(folder, at::kFloat)), CountParameters(LoadModel(folder, at::kFloat, at::kCPU)));
}

INSTANTIATE_TEST_SUITE_P(Tiny, Families, testing::ValuesIn(kCases), [](const auto& info) {
  std::string name = info.param.folder;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// The folder with another config.json.
Model LoadWith(const fs::path& folder, const fs::path& config, const TempFolder& temp) {
  fs::copy(folder / "model.safetensors", temp / "model.safetensors", fs::copy_options::overwrite_existing);
  fs::copy(config, temp / "config.json", fs::copy_options::overwrite_existing);
  return LoadModel(temp.path(), at::kFloat, at::kCPU);
}

TEST(Families, ReadTheOlderSpellingsOfConfig) {
  const at::NoGradGuard no_grad;
  for (const char* name : {"tiny-gemma3", "tiny-qwen3-next", "tiny-rope-linear"}) {
    const TempFolder temp;
    const fs::path folder = Fixture(name);
    const Model model = LoadWith(folder, folder / "config-older.json", temp);
    const NamedTensors expected = LoadTensors(folder / "taps.safetensors");
    EXPECT_LT(LargestDifference(Logits(model, expected.at("input_ids")), expected.at("logits")), kParity) << name;
  }
}

TEST(Families, ReadYarnWithoutTruncationAndWithItsOwnAttentionFactor) {
  const at::NoGradGuard no_grad;
  const TempFolder temp;
  const fs::path folder = Fixture("tiny-rope-yarn");
  const Model model = LoadWith(folder, folder / "config-untruncated.json", temp);
  const NamedTensors expected = LoadTensors(folder / "taps.safetensors");
  EXPECT_EQ(model.config.rope.attention_factor, 1.25);
  EXPECT_LT(LargestDifference(Logits(model, expected.at("input_ids")), expected.at("logits_untruncated")), kParity);
}

TEST(Families, ReadTheirGgufFormsToTheSameLogits) {
  const at::NoGradGuard no_grad;
  for (const char* name : {"tiny-llama-gguf", "tiny-qwen2", "tiny-qwen3", "tiny-gemma3-gguf", "tiny-llama3-gguf"}) {
    const fs::path folder = Fixture(name);
    const Model model = LoadModel(folder / "model.gguf", at::kFloat, at::kCPU);
    const NamedTensors expected = LoadTensors(folder / "taps.safetensors");
    EXPECT_LT(LargestDifference(Logits(model, expected.at("input_ids")), expected.at("logits")), kParity) << name;
  }
}

TEST(Families, ReadLlamaThreesFrequencyDivisorsFromGguf) {
  const Model model = LoadModel(Fixture("tiny-llama3-gguf/model.gguf"), at::kFloat, at::kCPU);
  EXPECT_EQ(model.config.rope.scaling, "llama3");
  EXPECT_EQ(model.config.rope.factor, 8);
  EXPECT_EQ(model.config.rope.original_positions, 8192);
}

// config.json of a fixture with one key set to another value.
std::string MessageWith(const char* folder, const char* key, const Json& value) {
  const TempFolder temp;
  Json config = ReadJson(Fixture(folder) / "config.json");
  config[key] = value;
  WriteJson(temp / "changed.json", config);
  std::string message = MessageOf([&] { LoadWith(Fixture(folder), temp / "changed.json", temp); });
  const size_t at = message.find(temp.path().string());
  return at == std::string::npos ? message : message.erase(at, temp.path().string().size());
}

TEST(Families, ThatAreNotSupportedAreRefusedByNameWithTheListOfThoseThatAre) {
  EXPECT_EQ(MessageWith("tiny-llama", "model_type", "mamba2"),
            ": model_type 'mamba2' is not supported; supported: espalier, gemma3_text, llama, mistral, olmo2, qwen2, "
            "qwen3, qwen3_next");
}

TEST(Families, LocateAWeightThatIsNotANumber) {
  const TempFolder temp;
  NamedTensors tensors = LoadTensors(Fixture("tiny-olmo2/model.safetensors"));
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  tensors[name].view({-1})[37] = std::numeric_limits<float>::quiet_NaN();
  SaveTensors(temp / "model.safetensors", tensors);
  fs::copy(Fixture("tiny-olmo2/config.json"), temp / "config.json");
  const std::string message = MessageOf([&] { LoadModel(temp.path(), at::kFloat, at::kCPU); });
  EXPECT_NE(message.find(name + ": element 37 is not finite (1 such elements)"), std::string::npos) << message;
}

TEST(Families, RefuseLinearAttentionLayersByName) {
  const TempFolder temp;
  const std::string message =
      MessageOf([&] { LoadWith(Fixture("tiny-qwen3-next"), Fixture("tiny-qwen3-next-linear/config.json"), temp); });
  EXPECT_NE(message.find("layer_types: layer 0 is 'linear_attention', which is not supported"), std::string::npos)
      << message;
}

TEST(Families, RefuseWhatTheForwardPassDoesNotHave) {
  EXPECT_EQ(MessageWith("tiny-gemma3", "final_logit_softcapping", 30.0),
            "/config.json: final_logit_softcapping is 30.0: capping of logits is not supported");
  EXPECT_EQ(MessageWith("tiny-qwen3-next", "num_experts", 8),
            "/config.json: num_experts is not 0: mixture-of-experts layers are not supported");
  EXPECT_EQ(MessageWith("tiny-llama", "rope_parameters", {{"rope_type", "longrope"}}),
            "/config.json: rope_parameters: rope_type 'longrope' is not supported; supported: default, linear, llama3, "
            "yarn");
  EXPECT_EQ(MessageWith("tiny-llama", "hidden_act", "relu"),
            "/config.json: hidden_act is 'relu'; supported: silu, gelu_pytorch_tanh");
}

TEST(GateLayout, IsNeverGuessedFromTheShape) {
  // The weights of a gated model under a configuration that says nothing of a gate.
  EXPECT_EQ(MessageWith("tiny-qwen3-gated-elementwise", "elementwise_attn_output_gate", false),
            "model.layers.0.self_attn.q_proj.weight: 64 rows for 4 query heads of 8: this looks like a fused output "
            "gate, but config.json names no layout and the shape cannot tell; set elementwise_attn_output_gate (A), "
            "headwise_attn_output_gate (B) or attn_output_gate (C) to true");
  EXPECT_EQ(MessageWith("tiny-qwen3-gated-elementwise", "attn_output_gate", true),
            "/config.json: more than one of elementwise_attn_output_gate, headwise_attn_output_gate and "
            "attn_output_gate is true; they are different layouts of q_proj, keep one");
  EXPECT_EQ(MessageWith("tiny-qwen3", "headwise_attn_output_gate", true),
            "model.layers.0.self_attn.q_proj.weight: 64 rows, expected 68 for 4 query heads of 16 and their headwise "
            "gate; config.json describes another model");
}

TEST(GateLayout, ReadWronglyChangesTheLogits) {
  const at::NoGradGuard no_grad;
  const TempFolder temp;
  const fs::path folder = Fixture("tiny-qwen3-gated-elementwise");
  Json config = ReadJson(folder / "config.json");
  config["elementwise_attn_output_gate"] = false;
  config["attn_output_gate"] = true;  // C instead of A: the same shape
  WriteJson(temp / "changed.json", config);
  const Model wrong = LoadWith(folder, temp / "changed.json", temp);
  const NamedTensors expected = LoadTensors(folder / "taps.safetensors");
  EXPECT_GT(LargestDifference(Logits(wrong, expected.at("input_ids")), expected.at("logits")), 0.1);
}

TEST(GateLayout, AModelWrittenInTheOtherLayoutHasEqualLogitsAndComesBackBitEqual) {
  const at::NoGradGuard no_grad;
  const fs::path folder = Fixture("tiny-qwen3-gated-elementwise");
  const Model grouped = LoadModel(folder, at::kFloat, at::kCPU);
  Model other = grouped;
  other.config.gate_layout = GateLayout::kPerHead;
  const TempFolder temp;
  SaveModel(other, LetterTokenizer(64), temp / "per_head");
  Model back = LoadModel(temp / "per_head", at::kFloat, at::kCPU);
  const at::Tensor ids = LoadTensors(folder / "taps.safetensors").at("input_ids");
  EXPECT_TRUE(at::equal(Logits(grouped, ids), Logits(back, ids)));
  // A -> C -> A: the stored tensors are the original bytes.
  back.config.gate_layout = GateLayout::kGrouped;
  SaveModel(back, LetterTokenizer(64), temp / "grouped");
  const NamedTensors first = LoadTensors(folder / "model.safetensors");
  const NamedTensors last = LoadTensors(temp / "grouped/model.safetensors");
  const NamedTensors middle = LoadTensors(temp / "per_head/model.safetensors");
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  for (const auto& [key, tensor] : first) EXPECT_TRUE(at::equal(tensor, last.at(key))) << key;
  EXPECT_FALSE(at::equal(first.at(name), middle.at(name)));
}

}  // namespace
}  // namespace espalier
