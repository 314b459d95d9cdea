#pragma once
// A checkpoint on disk, whatever its format: names, shapes, tensors and configuration.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

class GgufFile;

enum class CheckpointFormat { kHuggingFace, kGguf };

// Opened from a GGUF file, or from a folder with config.json and model.safetensors or model.safetensors.index.json.
class Checkpoint {
 public:
  // Throws IoError: nothing there, no config.json, pickle files only (names the conversion that makes safetensors),
  // shard index that leaves the folder or disagrees with its shards.
  static std::unique_ptr<Checkpoint> Open(const std::filesystem::path& path);
  virtual ~Checkpoint() = default;

  virtual CheckpointFormat format() const = 0;
  virtual const std::filesystem::path& path() const = 0;
  virtual std::vector<std::string> Names() const = 0;  // sorted
  virtual bool Has(std::string_view name) const = 0;
  virtual std::vector<int64_t> Shape(std::string_view name) const = 0;  // row-major [out, in]; IoError when absent
  virtual int64_t Bytes(std::string_view name) const = 0;               // as stored
  // CPU tensor: the stored dtype, block formats as float32. IoError when absent, naming the nearest names.
  virtual at::Tensor Read(std::string_view name) const = 0;

  virtual const Json& Config() const = 0;    // config.json; InternalError for GGUF
  virtual const GgufFile& Gguf() const = 0;  // InternalError for a folder
};

// A folder that transformers also reads: config.json and model.safetensors, or shards with an index above
// `shard_bytes`. The folder must exist; the caller owns its atomicity (core/files.h AtomicFolder).
void WriteCheckpointFolder(const std::filesystem::path& folder, const Json& config,
                           const std::map<std::string, at::Tensor>& tensors, int64_t shard_bytes = int64_t{5} << 30);

}  // namespace espalier
