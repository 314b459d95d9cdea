#include "espalier/io/checkpoint.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "espalier/core/log.h"
#include "espalier/io/tensors.h"
#include "io/hostile.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPickle =
    ": PyTorch pickle files are not read, because unpickling can run code; convert the model with transformers: "
    "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder, safe_serialization=True)";

// What opening `path` says, without the folder.
std::string Open(const TempFolder& folder, const std::string& name = "") {
  const fs::path path = name.empty() ? folder.path() : folder / name;
  std::string message = MessageOf([&] { Checkpoint::Open(path); });
  const std::string prefix = folder.path().string();
  for (size_t at = message.find(prefix); at != std::string::npos; at = message.find(prefix))
    message.replace(at, prefix.size(), "F");
  return message;
}

TEST(Checkpoint, OpensAShardedFolderThatTransformersWrote) {
  // scripts/make_safetensors_fixture.py: every parameter is 0, 1, 2, ...
  const auto checkpoint = Checkpoint::Open(fs::path(ESPALIER_SOURCE_DIR) / "tests/io/fixtures/tiny_llama");
  EXPECT_EQ(checkpoint->format(), CheckpointFormat::kHuggingFace);
  EXPECT_EQ(checkpoint->Config().at("hidden_size"), 8);
  EXPECT_THROW(checkpoint->Gguf(), InternalError);
  const std::vector<std::string> names = checkpoint->Names();
  ASSERT_EQ(names.size(), 20U);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(checkpoint->Shape("model.layers.1.mlp.down_proj.weight"), (std::vector<int64_t>{8, 12}));
  EXPECT_EQ(checkpoint->Bytes("model.layers.1.mlp.down_proj.weight"), 8 * 12 * 4);
  for (const std::string& name : names) {
    const at::Tensor read = checkpoint->Read(name);
    EXPECT_TRUE(at::equal(read, at::arange(read.numel(), at::kFloat).reshape(checkpoint->Shape(name)))) << name;
  }
}

NamedTensors Weights() {
  return {{"a", at::arange(6, at::kFloat).reshape({2, 3})},
          {"b", at::arange(4).to(at::kBFloat16)},
          {"c", at::arange(10, at::kFloat)},
          {"d", at::ones({1}, at::kHalf)}};
}

TEST(WriteCheckpointFolder, RoundTripsThroughOneFile) {
  const TempFolder folder;
  WriteCheckpointFolder(folder.path(), Json{{"model_type", "llama"}}, Weights());
  EXPECT_EQ(SafetensorsFile(folder / "model.safetensors").metadata().at("format"), "pt");
  EXPECT_FALSE(fs::exists(folder / "model.safetensors.index.json"));
  const auto checkpoint = Checkpoint::Open(folder.path());
  EXPECT_EQ(checkpoint->Config(), (Json{{"model_type", "llama"}}));
  EXPECT_EQ(checkpoint->Names(), (std::vector<std::string>{"a", "b", "c", "d"}));
  for (const auto& [name, tensor] : Weights()) {
    EXPECT_EQ(checkpoint->Read(name).scalar_type(), tensor.scalar_type());
    EXPECT_TRUE(at::equal(checkpoint->Read(name), tensor)) << name;
  }
}

TEST(WriteCheckpointFolder, RoundTripsThroughShards) {
  const TempFolder folder;
  // a 24 bytes, b 8, c 40, d 2. 32 a shard: a and b; c, larger than a shard, alone; d.
  WriteCheckpointFolder(folder.path(), Json::object(), Weights(), 32);
  EXPECT_EQ(ReadJson(folder / "model.safetensors.index.json").dump(),
            R"({"metadata":{"total_size":74},"weight_map":{"a":"model-00001-of-00003.safetensors",)"
            R"("b":"model-00001-of-00003.safetensors","c":"model-00002-of-00003.safetensors",)"
            R"("d":"model-00003-of-00003.safetensors"}})");
  EXPECT_EQ(SafetensorsFile(folder / "model-00001-of-00003.safetensors").tensors().size(), 2U);
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));
  const auto checkpoint = Checkpoint::Open(folder.path());
  EXPECT_EQ(checkpoint->Names(), (std::vector<std::string>{"a", "b", "c", "d"}));
  for (const auto& [name, tensor] : Weights()) EXPECT_TRUE(at::equal(checkpoint->Read(name), tensor)) << name;
}

TEST(WriteCheckpointFolder, RefusesAFolderThatIsNotThere) {
  const TempFolder folder;
  EXPECT_EQ(MessageOf([&] { WriteCheckpointFolder(folder / "x", Json::object(), {}); }),
            (folder / "x").string() + ": no such folder; make it before writing a checkpoint into it");
}

TEST(Checkpoint, NamesTheNearestTensorsForOneThatIsAbsent) {
  const TempFolder folder;
  WriteCheckpointFolder(folder.path(), Json::object(), {{"model.norm.weight", at::ones({1})}});
  const auto checkpoint = Checkpoint::Open(folder.path());
  const std::string expected =
      folder.path().string() + ": no tensor 'norm.weight' among 1; nearest: 'model.norm.weight'";
  EXPECT_FALSE(checkpoint->Has("norm.weight"));
  EXPECT_EQ(MessageOf([&] { checkpoint->Read("norm.weight"); }), expected);
  EXPECT_EQ(MessageOf([&] { checkpoint->Shape("norm.weight"); }), expected);
  EXPECT_EQ(MessageOf([&] { checkpoint->Bytes("norm.weight"); }), expected);
}

TEST(Checkpoint, SaysWhatAPathShouldBe) {
  const TempFolder folder;
  const std::string expected = "expected a .gguf file, or a folder with config.json and model.safetensors";
  EXPECT_EQ(Open(folder, "x"), "F/x: no such file or folder; " + expected);
  WriteFile(folder / "x", "hello");
  EXPECT_EQ(Open(folder, "x"), "F/x: not a GGUF file; " + expected);
  WriteFile(folder / "x", "");
  EXPECT_EQ(Open(folder, "x"), "F/x: not a GGUF file; " + expected);
  WriteFile(folder / "x.gguf", "hello");
  EXPECT_EQ(Open(folder, "x.gguf"), "F/x.gguf: byte 4: magic 'hell', expected 'GGUF'; is this a GGUF file?");
}

TEST(Checkpoint, AsksForTheFolderOfALoneFile) {
  const TempFolder folder;
  WriteCheckpointFolder(folder.path(), Json::object(), Weights());
  for (const std::string name : {"model.safetensors", "config.json"})
    EXPECT_EQ(Open(folder, name), "F/" + name +
                                      ": this is one file of a model; give its folder 'F', which needs config.json and "
                                      "model.safetensors");
}

TEST(Checkpoint, RefusesAFolderWithoutConfig) {
  const TempFolder folder;
  const std::string expected =
      "F: no config.json; expected a folder with config.json and model.safetensors, or the path of a .gguf file";
  EXPECT_EQ(Open(folder), expected);
  WriteFile(folder / "m.gguf", "");
  EXPECT_EQ(Open(folder), expected + "; there is 'm.gguf'");
}

TEST(Checkpoint, RefusesAConfigThatIsNoObject) {
  const TempFolder folder;
  WriteFile(folder / "config.json", "[]");
  EXPECT_EQ(Open(folder), "F/config.json: found array, expected a JSON object");
}

TEST(Checkpoint, RefusesAFolderWithoutWeights) {
  const TempFolder folder;
  WriteFile(folder / "config.json", "{}");
  EXPECT_EQ(Open(folder), "F: neither model.safetensors nor model.safetensors.index.json");
  WriteFile(folder / "adapter.safetensors", "");
  EXPECT_EQ(
      Open(folder),
      "F: neither model.safetensors nor model.safetensors.index.json; there is 'adapter.safetensors', which only an "
      "index can place");
}

TEST(Checkpoint, RefusesPicklesAndNamesTheConversion) {
  for (const std::string name :
       {"pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth", "model.pt"}) {
    const TempFolder folder;
    WriteFile(folder / name, "");
    EXPECT_EQ(Open(folder), "F/" + name + kPickle);  // without config.json
    WriteFile(folder / "config.json", "{}");
    EXPECT_EQ(Open(folder), "F/" + name + kPickle);
    EXPECT_EQ(Open(folder, name), "F/" + name + kPickle);
  }
}

TEST(Checkpoint, KnowsAPickleByItsContent) {
  const TempFolder folder;
  WriteFile(folder / "weights", "PK\3\4archive/data.pkl");  // torch.save since 1.6
  EXPECT_EQ(Open(folder, "weights"), std::string("F/weights") + kPickle);
  WriteFile(folder / "weights", "\x80\2}q\1.");  // a bare pickle
  EXPECT_EQ(Open(folder, "weights"), std::string("F/weights") + kPickle);
}

// A folder with config.json, shards a.safetensors (tensor "a") and b.safetensors (tensor "b"), and this index.
struct Sharded {
  explicit Sharded(const std::string& index) {
    WriteFile(folder / "config.json", "{}");
    SaveTensors(folder / "a.safetensors", {{"a", at::zeros({1})}});
    SaveTensors(folder / "b.safetensors", {{"b", at::ones({1})}});
    WriteFile(folder / "model.safetensors.index.json", index);
  }
  std::string Error() const {
    std::string message = Open(folder);
    const std::string prefix = "F/model.safetensors.index.json: ";
    return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
  }
  TempFolder folder;
};

TEST(ShardIndex, OpensShardsOfAnyPlainName) {
  EXPECT_EQ(
      Sharded(R"({"metadata":{"x":[1,{"y":null}]},"weight_map":{"a":"a.safetensors","b":"b.safetensors"},"n":1.5})")
          .Error(),
      "no error");
}

TEST(ShardIndex, RefusesFileNamesThatLeaveTheFolder) {
  for (const std::string file :
       {"../a.safetensors", "/etc/a.safetensors", "sub/a.safetensors", "sub\\\\a.safetensors", "./a.safetensors", "..",
        ".", "", ".safetensors", ".a.safetensors", "a.bin", "a\\u0000.safetensors"}) {
    const std::string error = Sharded(R"({"weight_map":{"a":")" + file + R"("}})").Error();
    EXPECT_TRUE(error.starts_with("tensor 'a': file '") &&
                error.ends_with("', expected the plain name of a .safetensors file in this folder"))
        << file << ": " << error;
  }
}

TEST(ShardIndex, RefusesATensorThatIsNotInItsShard) {
  EXPECT_EQ(Sharded(R"({"weight_map":{"a":"a.safetensors","c":"b.safetensors"}})").Error(),
            "tensor 'c' is not in 'b.safetensors'");
  EXPECT_EQ(Sharded(R"({"weight_map":{"a":"b.safetensors","b":"a.safetensors"}})").Error(),
            "tensor 'a' is not in 'b.safetensors', but in a.safetensors");
}

TEST(ShardIndex, RefusesATensorInTwoShards) {
  const Sharded sharded(R"({"weight_map":{"a":"a.safetensors","b":"b.safetensors"}})");
  SaveTensors(sharded.folder / "b.safetensors", {{"a", at::ones({1})}, {"b", at::ones({1})}});
  EXPECT_EQ(sharded.Error(), "tensor 'a' is in a.safetensors and in b.safetensors");
}

TEST(ShardIndex, RefusesAShardThatIsNotThere) {
  EXPECT_EQ(Sharded(R"({"weight_map":{"a":"c.safetensors"}})").Error(),
            "F/c.safetensors: cannot open for reading: No such file or directory");
}

TEST(ShardIndex, ReportsTensorsThatItDoesNotName) {
  const Sharded sharded(R"({"weight_map":{"a":"a.safetensors"}})");
  SaveTensors(sharded.folder / "a.safetensors", {{"a", at::zeros({1})}, {"extra", at::zeros({1})}});
  LogToFile(sharded.folder / "log");
  const auto checkpoint = Checkpoint::Open(sharded.folder.path());
  LogToFile({});
  EXPECT_NE(ReadFile(sharded.folder / "log").find("a.safetensors: tensor 'extra' is not in the index and is not read"),
            std::string::npos);
  EXPECT_EQ(checkpoint->Names(), std::vector<std::string>{"a"});
}

TEST(ShardIndex, RefusesDuplicateKeys) {
  EXPECT_EQ(Sharded(R"({"weight_map":{"a":"a.safetensors","a":"b.safetensors"}})").Error(),
            "weight_map names tensor 'a' twice");
  EXPECT_EQ(Sharded(R"({"weight_map":{},"weight_map":{}})").Error(), "duplicate key 'weight_map'");
}

TEST(ShardIndex, RefusesWhatIsNoIndex) {
  EXPECT_EQ(Sharded("{}").Error(), "no 'weight_map'");
  EXPECT_EQ(Sharded("[]").Error(), "found an array, expected a JSON object");
  EXPECT_EQ(Sharded("\"x\"").Error(), "found a string, expected a JSON object");
  EXPECT_EQ(Sharded(R"({"weight_map":[]})").Error(), "weight_map is an array, expected an object");
  EXPECT_EQ(Sharded(R"({"weight_map":{"a":1}})").Error(), "tensor 'a': found a number, expected the name of a file");
  EXPECT_EQ(Sharded(R"({"weight_map":{"a":{}}})").Error(), "tensor 'a': found an object, expected the name of a file");
  EXPECT_EQ(Sharded(R"({"weight_map":{)").Error(), "not valid JSON in UTF-8 at byte 16");
  EXPECT_EQ(Sharded(std::string("{}\0x", 4)).Error(), "not valid JSON in UTF-8 at byte 3");
  EXPECT_EQ(Sharded("{\"x\":" + std::string(1000, '[')).Error(), "nested deeper than 8 levels");
}

TEST(Checkpoint, ReadsEachTypeOfAGgufFileInItsDtype) {
  const TempFolder folder;
  hostile::Gguf file;
  // "h" [2] F16 {1, 2}, "m" [1, 32] Q4_0 with d = 1 and every nibble 9: ones.
  file.tensors = {hostile::Tensor("h", {2}, 1, 0), hostile::Tensor("m", {32, 1}, 2, 32),
                  hostile::Tensor("b", {1}, 30, 64), hostile::Tensor("f", {1}, 0, 96)};
  file.data = std::string("\x00\x3c\x00\x40", 4) + std::string(28, '\0') + std::string("\x00\x3c", 2) +
              std::string(16, '\x99') + std::string(14, '\0') + std::string("\x40\x40", 2) + std::string(30, '\0') +
              hostile::Raw(2.5F);
  WriteFile(folder / "weights", file.Bytes());  // known by its magic, whatever its name
  const auto checkpoint = Checkpoint::Open(folder / "weights");
  EXPECT_EQ(checkpoint->format(), CheckpointFormat::kGguf);
  EXPECT_THROW(checkpoint->Config(), InternalError);
  EXPECT_EQ(checkpoint->Names(), (std::vector<std::string>{"b", "f", "h", "m"}));
  EXPECT_EQ(checkpoint->Bytes("m"), 18);
  EXPECT_EQ(checkpoint->Shape("m"), (std::vector<int64_t>{1, 32}));
  const at::Tensor h = checkpoint->Read("h");
  EXPECT_EQ(h.scalar_type(), at::kHalf);
  EXPECT_TRUE(at::equal(h, at::arange(1, 3).to(at::kHalf)));
  EXPECT_TRUE(at::equal(checkpoint->Read("m"), at::ones({1, 32})));
  EXPECT_EQ(checkpoint->Read("b").scalar_type(), at::kBFloat16);
  EXPECT_EQ(checkpoint->Read("b").item<float>(), 3.0F);  // 0x40400000
  EXPECT_EQ(checkpoint->Read("f").item<float>(), 2.5F);
  EXPECT_EQ(MessageOf([&] { checkpoint->Read("hh"); }),
            (folder / "weights").string() + ": no tensor 'hh' among 4; nearest: 'h'");
}

}  // namespace
}  // namespace espalier
