// Calibration of a checkpoint that is never wholly in memory.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/files.h"
#include "espalier/io/mapped.h"
#include "espalier/io/tensors.h"
#include "espalier/model/load.h"
#include "model/fixture.h"
#include "support/every_statistic.h"
#include "support/letter_tokenizer.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// The statistics file of a model, wholly in memory or block by block with everything that can be in files.
std::string FileOf(const BlockSource& source, const Tensor& windows, int64_t memory, const TempFolder& temp) {
  CalibrateOptions options = EveryStatistic(/*gradient_tokens=*/48);
  options.batch = 2;
  options.memory = memory;
  options.scratch = temp.path();
  SaveStatistics(Calibrate(source, windows, options), temp / "statistics.safetensors");
  return ReadFile(temp / "statistics.safetensors");
}

TEST(StreamedCalibration, GivesTheBytesOfTheModelInMemoryForEveryFamily) {
  for (const char* const folder : {"tiny-llama", "tiny-qwen3-next", "tiny-gemma3", "tiny-olmo2", "tiny-sinks"}) {
    const TempFolder temp;
    const Model whole = LoadModel(Fixture(folder), at::kFloat, at::kCPU);
    StreamedModel streamed(Fixture(folder), at::kFloat, at::kCPU);
    const Tensor windows = RandomIds(3, 5, 16, whole.config.V);
    const std::string expected = FileOf(whole, windows, Scratch::kMemory, temp);
    EXPECT_EQ(FileOf(whole, windows, 0, temp), expected) << folder;
    EXPECT_EQ(FileOf(streamed, windows, 0, temp), expected) << folder;
    EXPECT_EQ(FileOf(streamed, windows, Scratch::kMemory, temp), expected) << folder;
    // Nothing but the result is left behind.
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(temp.path()), {}), 1) << folder;
  }
}

TEST(StreamedCalibration, GivesTheBytesOfTheModelInMemoryForUnevenBlocksAndGoneSublayers) {
  const TempFolder temp;
  TinyShape shape;
  shape.blocks = {{4, 2, 24}, {0, 0, 20}, {6, 3, 0}};
  shape.tied_head = false;
  SaveModel(TinyModel(4, shape), LetterTokenizer(shape.V), temp / "model");
  const TempFolder out;
  const Model whole = LoadModel(temp / "model", at::kFloat, at::kCPU);
  StreamedModel streamed(temp / "model", at::kFloat, at::kCPU);
  const Tensor windows = RandomIds(3, 5, 16, shape.V);
  EXPECT_EQ(FileOf(streamed, windows, 0, out), FileOf(whole, windows, Scratch::kMemory, out));
}

TEST(StreamedModel, HasTheTensorsOfTheBlocksThatAreHeldAndNoOthers) {
  StreamedModel streamed(Fixture("tiny-llama"), at::kFloat, at::kCPU);
  const BlockSource source(streamed);
  Model whole = LoadModel(Fixture("tiny-llama"), at::kFloat, at::kCPU);
  EXPECT_TRUE(at::equal(source.model().embedding, whole.embedding));
  EXPECT_TRUE(at::equal(source.model().Head(), whole.Head()));
  for (int64_t l = 0; l < whole.config.L(); ++l) {
    const auto block = static_cast<size_t>(l);
    {
      const BlockSource::Held held = source.Hold(l);
      Model one = source.model();
      for (size_t other = 0; other < one.blocks.size(); ++other) {
        EXPECT_EQ(one.blocks[other].ffn.w_down.defined(), other == block);
        if (other != block) one.blocks[other] = whole.blocks[other];
      }
      EXPECT_TRUE(BitwiseEqual(one, whole)) << l;
    }
    EXPECT_FALSE(source.model().blocks[block].attention_norm.defined());
  }
}

TEST(StreamedModel, RefusesADamagedBlockAsAWholeModelDoes) {
  const TempFolder temp;
  TinyShape shape;
  Model model = TinyModel(4, shape);
  model.blocks[1].ffn.w_up.weight[3][2] = std::numeric_limits<float>::infinity();
  SaveModel(model, LetterTokenizer(shape.V), temp / "model");
  const std::string expected = MessageOf([&] { LoadModel(temp / "model", at::kFloat, at::kCPU); });
  EXPECT_NE(expected.find("is not finite"), std::string::npos);
  StreamedModel streamed(temp / "model", at::kFloat, at::kCPU);
  EXPECT_NO_THROW(streamed.Load(0));
  EXPECT_EQ(MessageOf([&] { streamed.Load(1); }), expected);
}

TEST(Scratch, PutsIntoFilesWithoutANameWhatIsPastItsLimit) {
  const TempFolder temp;
  Scratch scratch(/*memory=*/4096, temp.path());
  const Tensor small = scratch.Empty({32, 32}, at::kFloat), large = scratch.Empty({33, 32}, at::kFloat);
  EXPECT_TRUE(std::filesystem::is_empty(temp.path()));
  // A file's memory can be given back and has the same values afterwards; other memory is left alone.
  const Tensor values = at::arange(33 * 32, at::kFloat).view({33, 32});
  for (const Tensor& tensor : {small, large}) {
    tensor.copy_(values.narrow(0, 0, tensor.size(0)));
    LetGo(tensor);
    EXPECT_TRUE(at::equal(tensor, values.narrow(0, 0, tensor.size(0))));
  }
  const Tensor first = at::ones({512}, at::kFloat), second = at::ones({513}, at::kFloat);
  EXPECT_TRUE(scratch.Park(first).is_same(first));  // 2,048 bytes, below 4,096
  const Tensor parked = scratch.Park(second);       // 4,100 with the first
  EXPECT_FALSE(parked.is_same(second));
  EXPECT_TRUE(at::equal(parked, second));
}

TEST(Scratch, SaysWhereAFileCannotBeMade) {
  const TempFolder temp;
  const Scratch scratch(0, temp / "missing");
  EXPECT_NE(MessageOf([&] {
              scratch.Empty({4}, at::kFloat);
            }).find((temp / "missing").string() + ": no temporary file can be made there"),
            std::string::npos);
}

TEST(MappedTensors, AreThoseThatAreRead) {
  const TempFolder temp;
  const NamedTensors saved = {{"flags", at::ones({5000}, at::kBool)},
                              {"large", at::arange(5000, at::kFloat).view({50, 100})},
                              {"wide", at::arange(3000, at::kDouble)},
                              {"small", at::arange(3, at::kLong)},
                              {"none", at::empty({0, 4}, at::kDouble)}};
  SaveTensors(temp / "t.safetensors", saved);
  for (const uint64_t map_bytes : {uint64_t{0}, uint64_t{1000}}) {
    const NamedTensors mapped = LoadTensors(temp / "t.safetensors", map_bytes);
    ASSERT_EQ(mapped.size(), saved.size());
    for (const auto& [name, tensor] : saved) EXPECT_TRUE(at::equal(mapped.at(name), tensor)) << name;
  }
  // They outlive the name of their file.
  const Tensor large = LoadTensors(temp / "t.safetensors", 0).at("large");
  std::filesystem::remove(temp / "t.safetensors");
  EXPECT_TRUE(at::equal(large, saved.at("large")));
}

}  // namespace
}  // namespace espalier
