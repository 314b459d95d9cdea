// What calibrating a model of 1.5 B parameters takes. Disabled: 3 GB of disk and minutes; scripts/measure_streaming.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "espalier/calibrate/calibrate.h"
#include "espalier/core/json.h"
#include "espalier/io/tensors.h"
#include "espalier/model/load.h"
#include "support/support.h"
#include "support/tiny_model.h"

namespace espalier {
namespace {

using at::Tensor;

// Llama 2's proportions: every head has keys and values of its own.
constexpr int64_t kC = 2048, kF = 5632, kH = 32, kL = 27, kV = 32000;

// Writes one shard at a time, so that memory does not hold the model here either.
class Writer {
 public:
  explicit Writer(std::filesystem::path folder) : folder_(std::move(folder)) {
    std::filesystem::create_directories(folder_);
    at::manual_seed(0);
  }

  void Write() {
    Shard("outside", {{"model.embed_tokens.weight", Normal(kV, kC)},
                      {"model.norm.weight", Ones()},
                      {"lm_head.weight", Normal(kV, kC)}});
    for (int64_t l = 0; l < kL; ++l) {
      const std::string at = fmt::format("model.layers.{}.", l);
      NamedTensors tensors = {{at + "input_layernorm.weight", Ones()},
                              {at + "post_attention_layernorm.weight", Ones()}};
      for (const char* const name : {"q_proj", "k_proj", "v_proj", "o_proj"})
        tensors[at + "self_attn." + name + ".weight"] = Normal(kC, kC);
      for (const char* const name : {"gate_proj", "up_proj"}) tensors[at + "mlp." + name + ".weight"] = Normal(kF, kC);
      tensors[at + "mlp.down_proj.weight"] = Normal(kC, kF);
      Shard(fmt::format("block{}", l), tensors);
    }
    WriteJson(folder_ / "model.safetensors.index.json",
              {{"metadata", {{"total_size", 2 * parameters_}}}, {"weight_map", places_}});
    WriteJson(folder_ / "config.json", {{"model_type", "llama"},
                                        {"architectures", {"LlamaForCausalLM"}},
                                        {"hidden_size", kC},
                                        {"intermediate_size", kF},
                                        {"num_attention_heads", kH},
                                        {"num_key_value_heads", kH},
                                        {"num_hidden_layers", kL},
                                        {"vocab_size", kV},
                                        {"hidden_act", "silu"},
                                        {"rms_norm_eps", 1e-5},
                                        {"rope_theta", 10000.0},
                                        {"max_position_embeddings", 2048},
                                        {"tie_word_embeddings", false}});
  }

  int64_t parameters() const { return parameters_; }

 private:
  static Tensor Ones() { return at::ones({kC}, at::kBFloat16); }
  static Tensor Normal(int64_t out, int64_t in) { return at::randn({out, in}).mul_(0.02).to(at::kBFloat16); }

  void Shard(const std::string& name, const NamedTensors& tensors) {
    const std::string file = name + ".safetensors";
    SaveTensors(folder_ / file, tensors, {{"format", "pt"}});
    for (const auto& [tensor, values] : tensors) {
      places_[tensor] = file;
      parameters_ += values.numel();
    }
  }

  std::filesystem::path folder_;
  Json places_ = Json::object();
  int64_t parameters_ = 0;
};

// VmHWM: the most memory that the process had, pages of mapped files included.
double PeakGiB() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / (1 << 20);
  return 0;
}

TEST(DISABLED_StreamedCalibration, OfABillionAndAHalfParametersStaysBelowFourGiB) {
  const TempFolder temp;
  Writer writer(temp / "model");
  writer.Write();
  ASSERT_GT(writer.parameters(), 1'500'000'000);
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak counts from here
  const double before = PeakGiB();
  const auto start = std::chrono::steady_clock::now();
  StreamedModel model(temp / "model", at::kFloat, at::kCPU);
  CalibrateOptions options;
  options.products = options.gradients = options.gradient_products = true;
  options.batch = 4;
  options.gradient_tokens = 512;
  options.scratch = temp.path();
  SaveStatistics(Calibrate(model, RandomIds(1, 4, 256, kV), options), temp / "statistics.safetensors");
  const double calibrated = PeakGiB();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const Statistics read = LoadStatistics(temp / "statistics.safetensors");
  std::cout << fmt::format(
      "{} parameters, 4 windows of 256 tokens, gradients of 512: {:.0f} s, peak {:.2f} GiB ({:.2f} before), "
      "statistics of {:.2f} GiB\n",
      writer.parameters(), took.count(), calibrated, before,
      static_cast<double>(std::filesystem::file_size(temp / "statistics.safetensors")) / (1 << 30));
  EXPECT_LT(calibrated, 4);
  EXPECT_EQ(read.blocks.back().ffn_hidden.counted.products.size(0), kF);
}

}  // namespace
}  // namespace espalier
