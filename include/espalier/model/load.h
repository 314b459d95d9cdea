#pragma once
// Models from and to disk.
#include <filesystem>
#include <memory>

#include "espalier/model/model.h"

namespace espalier {

class Tokenizer;

// "float32" or "bfloat16"; RecipeError otherwise.
at::ScalarType ParseDtype(std::string_view name);
std::string_view DtypeName(at::ScalarType dtype);
// "cpu", "cuda", "cuda:1"; RecipeError when LibTorch cannot use it.
at::Device ParseDevice(const std::string& name);

// Reads configuration and every tensor, checks shapes and that all values are finite (NumericError names tensor and
// index).
Model LoadModel(const std::filesystem::path& path, at::ScalarType dtype, at::Device device);
// Configuration and shapes from headers alone: the tensors are on LibTorch's meta device and hold no data.
Model LoadShapes(const std::filesystem::path& path, at::ScalarType dtype);

// A model whose blocks are read when they are asked for (model/block_source.h): what LoadModel reads, with the same
// checks and bitwise the same tensors, one block at a time. Embedding, final norm and head are read at once.
class StreamedModel {
 public:
  StreamedModel(const std::filesystem::path& path, at::ScalarType dtype, at::Device device);
  ~StreamedModel();
  StreamedModel(const StreamedModel&) = delete;
  StreamedModel& operator=(const StreamedModel&) = delete;

  const Model& model() const;  // blocks that are not loaded have no tensors
  void Load(int64_t block);
  void Release(int64_t block);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// Writes config.json, model.safetensors and the tokenizer's files into `folder`, which appears only when all is
// written.
void SaveModel(const Model& model, const Tokenizer& tokenizer, const std::filesystem::path& folder);

}  // namespace espalier
