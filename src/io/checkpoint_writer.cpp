#include <ATen/ATen.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/io/checkpoint.h"
#include "espalier/io/tensors.h"

namespace espalier {
namespace {

// transformers refuses a file that does not say which framework wrote it.
const std::map<std::string, std::string> kMetadata = {{"format", "pt"}};

int64_t BytesOf(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.numel() * tensor.element_size() : 0;
}

// Name order; a new shard begins where the next tensor would not fit. A tensor larger than a shard has one to itself.
std::vector<NamedTensors> SplitIntoShards(const NamedTensors& tensors, int64_t shard_bytes) {
  std::vector<NamedTensors> shards(1);
  int64_t filled = 0;
  for (const auto& [name, tensor] : tensors) {
    if (!shards.back().empty() && BytesOf(tensor) > shard_bytes - filled) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().emplace(name, tensor);
    filled += BytesOf(tensor);
  }
  return shards;
}

}  // namespace

void WriteCheckpointFolder(const std::filesystem::path& folder, const Json& config,
                           const std::map<std::string, at::Tensor>& tensors, int64_t shard_bytes) {
  ESPALIER_CHECK(shard_bytes > 0, "a shard holds something");
  if (!std::filesystem::is_directory(folder))
    throw IoError(fmt::format("{}: no such folder; make it before writing a checkpoint into it", folder.string()));
  WriteJson(folder / "config.json", config);
  const std::vector<NamedTensors> shards = SplitIntoShards(tensors, shard_bytes);
  if (shards.size() == 1) return SaveTensors(folder / "model.safetensors", tensors, kMetadata);
  nlohmann::json weight_map = nlohmann::json::object();  // sorted: the ordered type searches linearly for each new key
  int64_t total_bytes = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    SaveTensors(folder / file, shards[i], kMetadata);
    for (const auto& [name, tensor] : shards[i]) {
      weight_map[name] = file;
      total_bytes += BytesOf(tensor);
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total_bytes}}}, {"weight_map", weight_map}};
  WriteFile(folder / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace espalier
