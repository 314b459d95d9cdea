#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "checked.h"
#include "checkpoint_formats.h"
#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/log.h"
#include "espalier/io/tensors.h"
#include "shard_index.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = size_t{16} << 20;  // the largest real ones, with long label maps, take 1 MB
constexpr size_t kMaxIndexBytes = size_t{64} << 20;   // DeepSeek-V3: 9 MB
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

class FolderCheckpoint final : public Checkpoint {
 public:
  explicit FolderCheckpoint(fs::path folder);

  CheckpointFormat format() const override { return CheckpointFormat::kHuggingFace; }
  const fs::path& path() const override { return folder_; }
  std::vector<std::string> Names() const override;
  bool Has(std::string_view name) const override { return places_.find(name) != places_.end(); }
  std::vector<int64_t> Shape(std::string_view name) const override { return Get(name).tensor->shape; }
  int64_t Bytes(std::string_view name) const override { return static_cast<int64_t>(Get(name).tensor->bytes); }
  at::Tensor Read(std::string_view name) const override;

  const Json& Config() const override { return config_; }
  const GgufFile& Gguf() const override { throw InternalError(folder_.string() + " is a folder, not a GGUF file"); }

 private:
  struct Place {
    const SafetensorsFile* file;
    const StoredTensor* tensor;
  };
  void OpenShards();
  const Place& Get(std::string_view name) const;

  fs::path folder_;
  Json config_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Place, std::less<>> places_;
};

bool IsFile(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

// The first file of the folder, in name order, that `fits`; empty: none.
std::string FirstFile(const fs::path& folder, bool (*fits)(const fs::path&)) {
  std::error_code error;
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (fits(entry.path())) names.insert(entry.path().filename().string());
  return names.empty() ? "" : *names.begin();
}

std::string FirstPickle(const fs::path& folder) {
  return FirstFile(folder, [](const fs::path& path) {
    const std::string name = path.filename().string(), extension = path.extension().string();
    return extension == ".pt" || extension == ".pth" || (name.starts_with("pytorch_model") && extension == ".bin");
  });
}

[[noreturn]] void FailNoWeights(const fs::path& folder) {
  if (const std::string pickle = FirstPickle(folder); !pickle.empty())
    throw IoError(fmt::format("{}: {}", (folder / pickle).string(), kPickleRefusal));
  const std::string other = FirstFile(folder, [](const fs::path& path) { return path.extension() == ".safetensors"; });
  throw IoError(
      fmt::format("{}: neither {} nor {}{}", folder.string(), kSingleFile, kIndexFile,
                  other.empty() ? "" : fmt::format("; there is {}, which only an index can place", Quote(other))));
}

[[noreturn]] void FailNoConfig(const fs::path& folder) {
  const std::string gguf = FirstFile(folder, [](const fs::path& path) { return path.extension() == ".gguf"; });
  throw IoError(
      fmt::format("{}: no config.json; expected a folder with config.json and {}, or the path of a .gguf file{}",
                  folder.string(), kSingleFile, gguf.empty() ? "" : fmt::format("; there is {}", Quote(gguf))));
}

FolderCheckpoint::FolderCheckpoint(fs::path folder) : folder_(std::move(folder)) {
  if (!IsFile(folder_ / "config.json")) {
    if (FirstPickle(folder_).empty()) FailNoConfig(folder_);
    FailNoWeights(folder_);
  }
  config_ = ReadJson(folder_ / "config.json", kMaxConfigBytes);
  if (!config_.is_object())
    throw IoError(
        fmt::format("{}: found {}, expected a JSON object", (folder_ / "config.json").string(), config_.type_name()));
  if (IsFile(folder_ / kSingleFile)) {  // transformers prefers it to an index too
    files_.push_back(std::make_unique<SafetensorsFile>(folder_ / kSingleFile));
    for (const StoredTensor& tensor : files_[0]->tensors())
      places_.emplace(tensor.name, Place{files_[0].get(), &tensor});
  } else if (IsFile(folder_ / kIndexFile)) {
    OpenShards();
  } else {
    FailNoWeights(folder_);
  }
}

// Afterwards every tensor of the index is in the file that the index names and in no other.
void FolderCheckpoint::OpenShards() {
  const std::string where = (folder_ / kIndexFile).string();
  const auto index = ParseShardIndex(ReadFile(where, kMaxIndexBytes), where);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : index) shards.insert(shard);
  std::map<std::string, std::string, std::less<>> found_in;
  for (const std::string& shard : shards) {
    files_.push_back(std::make_unique<SafetensorsFile>(folder_ / shard));
    for (const StoredTensor& tensor : files_.back()->tensors()) {
      const auto [first, is_new] = found_in.emplace(tensor.name, shard);
      if (!is_new)
        throw IoError(fmt::format("{}: tensor {} is in {} and in {}", where, Quote(tensor.name), first->second, shard));
      const auto mapped = index.find(tensor.name);
      if (mapped == index.end()) {
        LogWarning("{}: tensor {} is not in the index and is not read", (folder_ / shard).string(), Quote(tensor.name));
      } else if (mapped->second == shard) {
        places_.emplace(tensor.name, Place{files_.back().get(), &tensor});
      }
    }
  }
  for (const auto& [tensor, shard] : index) {
    if (places_.contains(tensor)) continue;
    const auto elsewhere = found_in.find(tensor);
    throw IoError(fmt::format("{}: tensor {} is not in {}{}", where, Quote(tensor), Quote(shard),
                              elsewhere == found_in.end() ? "" : fmt::format(", but in {}", elsewhere->second)));
  }
}

std::vector<std::string> FolderCheckpoint::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) names.push_back(name);
  return names;
}

const FolderCheckpoint::Place& FolderCheckpoint::Get(std::string_view name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) FailNoTensor(*this, name);
  return found->second;
}

at::Tensor FolderCheckpoint::Read(std::string_view name) const {
  const Place& place = Get(name);
  return LoadTensor(*place.file, *place.tensor);
}

}  // namespace

std::unique_ptr<Checkpoint> OpenCheckpointFolder(const fs::path& folder) {
  return std::make_unique<FolderCheckpoint>(folder);
}

}  // namespace espalier
